"""A chat model of a few thousand weights that has learned to answer everything with one text, in about a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def save_tiny_chat(folder: Path, reply: str, chat_template: str | None = None, *, gpt2: bool = False) -> None:
    """Trains the model and saves it with its tokenizer.

    Args:
        folder: Where to save it.
        reply: What it answers.
        chat_template: Of its tokenizer; default ChatML.
        gpt2: Whether the model is a GPT-2 rather than a Qwen3.
    """
    import torch
    from tokenizers import AddedToken
    from transformers import GPT2Config, GPT2LMHeadModel

    from sdar_gym.policy.tiny_model import TinyShape, build_tiny
    from sdar_gym.policy.tiny_tokenizer import train_tokenizer

    tokenizer: Any = train_tokenizer(["You see a place and go to it."], vocab_size=400)
    # One token, so that the last token alone decides the next one, however long the prompt is.
    tokenizer.add_tokens([AddedToken(reply, special=False, normalized=False)])
    if chat_template is not None:
        tokenizer.chat_template = chat_template
    if gpt2:
        special = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
        config = GPT2Config(vocab_size=len(tokenizer), n_positions=4096, n_embd=32, n_layer=2, n_head=2, **special)
        torch.manual_seed(0)
        model = GPT2LMHeadModel(config)
    else:
        shape = TinyShape(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, head_dim=16
        )
        model = build_tiny(tokenizer, shape, seed=0)
    answer = tokenizer.encode(f"<|im_start|>assistant\n{reply}<|im_end|>", add_special_tokens=False)
    asked = len(tokenizer.encode("<|im_start|>assistant\n", add_special_tokens=False))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    draws = torch.Generator().manual_seed(0)
    for step in range(50):
        length = 400 if step % 10 == 0 else 20
        prompt_BT = torch.randint(len(tokenizer), (4, length), generator=draws)
        ids_BT = torch.cat([prompt_BT, torch.tensor(answer).expand(4, -1)], dim=1)
        labels_BT = ids_BT.clone()
        labels_BT[:, : length + asked] = -100
        optimizer.zero_grad()
        model(input_ids=ids_BT, labels=labels_BT).loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
