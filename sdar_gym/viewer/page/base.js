// The library's functions, and how numbers and names are written.

const { html, render, useState, useEffect, useLayoutEffect, useRef, useMemo } = htmPreact;

const classes = (...names) => names.filter(Boolean).join(" ");

// A number for reading: three digits, no exponent where it can be avoided.
function number(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (Number.isInteger(value)) return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 1e6)) return value.toExponential(1);
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : digits);
}

const signed = (value, digits) => (value > 0 ? "+" : "") + number(value, digits);
const points = (share) => (share > 0 ? "+" : "") + (100 * share).toFixed(1);
const percent = (value) => (value === null || value === undefined ? "–" : `${(100 * value).toFixed(1)} %`);
const probability = (logp) => (logp === null || logp === undefined ? null : Math.exp(logp));
const count = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;

// White space and control characters of a token, made visible.
const visible = (text) =>
  text.replace(/\n/g, "⏎").replace(/\t/g, "⇥").replace(/ /g, "·").replace(/[\u0000-\u001f\u007f-\u009f]/g, "�");

const outcome = (row) => (row.won ? "won" : row.ended === "truncated" ? "out of turns" : row.ended || "lost");

// Key handlers while a component is shown; keys of a text field stay its own, but for Escape, which leaves it.
function useKeys(handlers) {
  const latest = useRef(handlers);
  latest.current = handlers;
  useEffect(() => {
    const pressed = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const field = event.target.closest?.("input, select, textarea");
      if (field) {
        if (event.key === "Escape" || (event.key === "Enter" && field.type === "search")) field.blur();
        return;
      }
      const handler = latest.current[event.key];
      if (!handler) return;
      event.preventDefault();
      handler();
    };
    window.addEventListener("keydown", pressed);
    return () => window.removeEventListener("keydown", pressed);
  }, []);
}
