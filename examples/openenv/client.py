"""OpenEnv: play one episode of a served environment with OpenEnv's own client."""

import random
import sys

from openenv.core import GenericEnvClient

draws = random.Random(0)
with GenericEnvClient(base_url=sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000").sync() as env:
    result = env.reset(split="train", index=0)
    print(result.observation["prompt"])
    while not result.done:
        # A model would read the prompt and respond; this one draws from the actions.
        action = draws.choice(result.observation["admissible_actions"])
        result = env.step({"message": f"<action>{action}</action>"})
        print(f"> {action}\n{result.observation['prompt'].splitlines()[0]}")
    print(f"won {result.observation['won']}, reward {result.reward}, {env.state()['step_count']} turns")
