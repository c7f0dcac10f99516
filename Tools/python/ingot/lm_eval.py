"""Ingot as a model of lm-eval, EleutherAI's evaluation harness (tried with 0.4.13).

    pip install lm-eval
    python -m ingot.lm_eval run --model ingot --model_args pretrained=mini.ingot --tasks gsm8k --apply_chat_template

lm-eval looks models up in a table of its own that no other package can add to, so that `lm_eval --model ingot` does not know this one:
the line above enters it into the table and then is lm-eval's command line, with all its options. In a program, importing this module
does the same; `lm_eval.simple_evaluate(model="ingot", model_args="pretrained=mini.ingot", …)` works from then on.

Model arguments beside `pretrained`, a pack or a checkpoint directory: `max_gen_toks` (256, for tasks that do not say), those of `ingot run`
by name (`block_length`, `steps`, `threshold`, `decoder`, `activations`, `threads`, `max_memory`, `batch_size`), and `binary`, the
command where it is not the one that came with this module. A batch size of 1, which is lm-eval's default, leaves it to `ingot`: answers
do not depend on it.

Tasks that generate (`generate_until`) are answered by `ingot run --batch`. Without `--apply_chat_template` a prompt goes to the model as it
is, special tokens in it included, as with lm-eval's other models.

Tasks that compare likelihoods (`loglikelihood`, multiple choice, perplexity) are refused: a diffusion model has no likelihood of one
pass, only a bound by many masked ones, and the command prints that bound over whole sets of texts (`ingot verify`), not for one answer
after a prompt.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from typing import Any, Optional

try:
    from lm_eval.api.model import LM
    from lm_eval.api.registry import register_model
except ModuleNotFoundError as error:
    if error.name is None or error.name.split(".")[0] != "lm_eval":
        raise
    advice = "ingot.lm_eval needs lm-eval: pip install lm-eval"
    if __name__ == "__main__":
        sys.exit(advice)
    raise ModuleNotFoundError(advice, name=error.name) from error

from ingot import _command

__all__ = ["IngotLM"]

# What stands before a conversation, as JSON, where lm-eval takes a prompt to be one text.
CHAT = "<ingot-chat>"

# Options of the command line that a model argument may set.
OPTIONS = ("block_length", "steps", "threshold", "decoder", "activations", "threads", "max_memory")

# Keys of lm-eval's generation_kwargs that mean the same in a line of `ingot run --batch`.
SAME = ("block_length", "steps", "threshold", "top_k", "top_p", "seed")


@register_model("ingot")
class IngotLM(LM):  # type: ignore[misc]
    """A pack or checkpoint, run by the command."""

    def __init__(
        self,
        pretrained: str,
        batch_size: Any = None,
        max_batch_size: Any = None,
        device: Optional[str] = None,
        max_gen_toks: int = 256,
        binary: Optional[str] = None,
        **options: Any,
    ) -> None:
        super().__init__()
        for name in options:
            if name not in OPTIONS:
                known = ", ".join(("pretrained", "max_gen_toks", "batch_size", "binary", *OPTIONS))
                raise ValueError(f"model argument `{name}` is unknown; there are {known}")
        command = binary or _command.path()
        if command is None:
            raise FileNotFoundError("the command `ingot` is not installed; name it with the model argument `binary`")
        self.pretrained = str(pretrained)
        self.max_gen_toks = int(max_gen_toks)
        self.command = [command, "run", self.pretrained]
        for name, value in options.items():
            self.command += [f"--{name.replace('_', '-')}", str(value)]
        sizes = [size for size in (batch_size, max_batch_size) if str(size).isdigit() and int(size) > 1]
        if sizes:
            self.command += ["--batch-size", str(sizes[0])]

    # MARK: Prompts

    @property
    def tokenizer_name(self) -> str:
        """A part of the name of lm-eval's cache of requests: of a file."""
        return f"ingot:{self.pretrained}".replace("/", "__")

    def chat_template(self, chat_template: Any = False) -> str:
        """lm-eval names the template by it; the model's own is used whatever it says."""
        if isinstance(chat_template, str):
            raise ValueError("a model has one chat template, its own: give --apply_chat_template without a name")
        return "the model's own, applied by `ingot run`"

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The conversation itself: the command applies the template, so that no message can speak for another role."""
        if not add_generation_prompt:
            raise NotImplementedError(
                "the harness begins the answers of this task (gen_prefix), which a chat template leaves to the model")
        return CHAT + json.dumps(chat_history, ensure_ascii=False)

    # MARK: Requests

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        if not requests:
            return []
        with tempfile.TemporaryDirectory(prefix="ingot-lm-eval-") as place:
            prompts, answers = os.path.join(place, "prompts.jsonl"), os.path.join(place, "answers.jsonl")
            with open(prompts, "w", encoding="utf-8") as file:
                for request in requests:
                    file.write(json.dumps(self.line(*request.args), ensure_ascii=False) + "\n")
            quiet = ["-q"] if disable_tqdm else []
            done = subprocess.run([*self.command, "--batch", prompts, "-o", answers, *quiet], stdin=subprocess.DEVNULL)
            if done.returncode != 0:
                raise RuntimeError(f"`ingot run` ended with {done.returncode}; what it says of it stands above")
            with open(answers, encoding="utf-8") as file:
                texts = [json.loads(line)["text"] for line in file]
        for request, text in zip(requests, texts):
            self.cache_hook.add_partial("generate_until", request.args, text)
        return texts

    def line(self, context: str, generation: dict[str, Any]) -> dict[str, Any]:
        """A request as a line of `ingot run --batch` (Formats/run.md §6)."""
        given = dict(generation)
        line: dict[str, Any]
        if context.startswith(CHAT):
            line = {"messages": json.loads(context[len(CHAT):])}
        else:
            line = {"prompt": context, "raw": True}
        until = given.pop("until", None)
        line["stop"] = [text for text in ([until] if isinstance(until, str) else until or []) if text]
        lengths = [given.pop(name, None) for name in ("max_gen_toks", "max_new_tokens", "gen_length")]
        line["gen_length"] = int(next((length for length in lengths if length is not None), self.max_gen_toks))
        temperature = given.pop("temperature", 0) or 0
        line["temperature"] = float(temperature) if given.pop("do_sample", temperature > 0) else 0.0
        line.update({name: given.pop(name) for name in SAME if given.get(name) is not None})
        if given:
            raise ValueError(f"generation arguments that `ingot run` has no like of: {', '.join(sorted(given))}")
        return line

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        raise NotImplementedError(
            "this task compares likelihoods, and a diffusion model has only a bound on them, which `ingot` does not print for single "
            "answers; take a task that generates, such as gsm8k, or measure the bound with `ingot verify`")

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        self.loglikelihood(requests)
        return []


def main() -> None:
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()


if __name__ == "__main__":
    sys.exit(main())
