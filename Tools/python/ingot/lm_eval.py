"""Ingot as a model of lm-eval, EleutherAI's evaluation harness (tried with 0.4.13).

    pip install lm-eval
    python -m ingot.lm_eval run --model ingot --model_args pretrained=mini.ingot --tasks gsm8k --apply_chat_template

lm-eval looks models up in a table of its own that no other package can add to, so that `lm_eval --model ingot` does not know this one:
the line above enters it into the table and then is lm-eval's command line, with all its options. In a program, importing this module
does the same; `lm_eval.simple_evaluate(model="ingot", model_args="pretrained=mini.ingot", …)` works from then on.

Model arguments beside `pretrained`, a pack or a checkpoint directory:

    max_gen_toks       tokens of an answer, for tasks that do not say (256)
    cache              a folder in which answers and scores are kept: the same evaluation goes on from what an interrupted one has done,
                       and repeats nothing that was finished
    draws              sets of masks for a block of a continuation (32), as in `ingot score`
    block_length, steps, threshold, decoder, activations, threads, max_memory
                       as in `ingot run`
    binary             the command, where it is not the one that came with this module

A `--batch_size` of 1, which is lm-eval's default, leaves it to `ingot`: results do not depend on it.

Tasks that generate (`generate_until`) are answered by `ingot run --batch`. Without `--apply_chat_template` a prompt goes to the model as it
is, special tokens in it included, as with lm-eval's other models.

Tasks that compare likelihoods (`loglikelihood`: multiple choice; `loglikelihood_rolling`: perplexity) are answered by `ingot score`
(Formats/score.md). A diffusion model has no likelihood of one pass: what stands in its place is the bound that it is trained with, minus the
bound of -ln p. It is the likelihood itself for a continuation of one token; of a longer one it is lower, so that a perplexity made of it is
an upper bound, and no number to be held against that of a model that writes from left to right. `is_greedy` tells whether the continuation is
what the model writes when it fills a block at once. White space at the end of a context goes to the continuation, as with lm-eval's
other models; otherwise both are made tokens each by itself. A text of `loglikelihood_rolling` is scored in one piece, behind nothing; one that is longer than
the model has positions is refused.
"""

from __future__ import annotations

import hashlib
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

# Options of the command line that a model argument may set: of both commands, of `run`, of `score`, and those that change no result.
COMMON = ("block_length", "activations")
RUN = ("steps", "threshold", "decoder")
SCORE = ("draws",)
LIMITS = ("threads", "max_memory")

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
        cache: Optional[str] = None,
        **options: Any,
    ) -> None:
        super().__init__()
        for name in options:
            if name not in (*COMMON, *RUN, *SCORE, *LIMITS):
                known = ", ".join(("pretrained", "max_gen_toks", "batch_size", "binary", "cache", *COMMON, *RUN, *SCORE, *LIMITS))
                raise ValueError(f"model argument `{name}` is unknown; there are {known}")
        command = binary or _command.path()
        if command is None:
            raise FileNotFoundError("the command `ingot` is not installed; name it with the model argument `binary`")
        self.binary: str = command
        self.pretrained = str(pretrained)
        self.max_gen_toks = int(max_gen_toks)
        self.cache = cache
        if cache is not None and not os.path.exists(self.pretrained):
            raise ValueError("with the model argument `cache`, name the model by its path: what is kept belongs to files that can be looked at")
        self.options = {name: str(value) for name, value in options.items()}
        sizes = [size for size in (batch_size, max_batch_size) if str(size).isdigit() and int(size) > 1]
        if sizes:
            self.options["batch_size"] = str(sizes[0])

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
        lines = [self.line(*request.args) for request in requests]
        texts: list[str] = [answer["text"] for answer in self.ask("run", lines, disable_tqdm)]
        for request, text in zip(requests, texts):
            self.cache_hook.add_partial("generate_until", request.args, text)
        return texts

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        lines = [self.pair(*request.args) for request in requests]
        found = [(-score["bound"], score["is_greedy"]) for score in self.ask("score", lines, disable_tqdm)]
        for request, likelihood in zip(requests, found):
            self.cache_hook.add_partial("loglikelihood", request.args, likelihood)
        return found

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        # An empty text is certain.
        texts = [request.args[0] for request in requests]
        scores = iter(self.ask("score", [self.pair("", text) for text in texts if text], disable_tqdm))
        found = [-next(scores)["bound"] if text else 0.0 for text in texts]
        for request, likelihood in zip(requests, found):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, likelihood)
        return found

    def ask(self, verb: str, lines: list[dict[str, Any]], quiet: bool) -> list[dict[str, Any]]:
        """What `ingot run --batch` or `ingot score` makes of some lines, in their order."""
        if not lines:
            return []
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        names = (*COMMON, *(RUN if verb == "run" else SCORE))
        options = self.given(names)
        if self.cache is None:
            with tempfile.TemporaryDirectory(prefix="ingot-lm-eval-") as place:
                return self.results(verb, text, options, os.path.join(place, verb), quiet)
        os.makedirs(self.cache, exist_ok=True)
        version = subprocess.run([self.binary, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True).stdout
        key = json.dumps([version, verb, options, fingerprint(self.pretrained), text])
        name = f"{verb}-{hashlib.sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()[:24]}"
        return self.results(verb, text, options, os.path.join(self.cache, name), quiet)

    def given(self, names: tuple[str, ...]) -> list[str]:
        """Options of the command line for the model arguments among some names."""
        return [
            word for name in names if name in self.options for word in (f"--{name.replace('_', '-')}", self.options[name])]

    def results(self, verb: str, text: str, options: list[str], place: str, quiet: bool) -> list[dict[str, Any]]:
        """The same, by way of files whose names begin with `place`; those that are there already are taken."""
        asked, found = f"{place}.asked.jsonl", f"{place}.jsonl"
        if not os.path.exists(found):
            with open(asked, "w", encoding="utf-8") as file:
                file.write(text)
            batch = ["--batch", asked] if verb == "run" else [asked]
            options = [*options, *self.given((*LIMITS, "batch_size")), *(["-q"] if quiet else [])]
            done = subprocess.run([self.binary, verb, self.pretrained, *batch, "-o", found, *options], stdin=subprocess.DEVNULL)
            if done.returncode != 0 and not os.path.exists(found):
                raise RuntimeError(f"`ingot {verb}` ended with {done.returncode}; what it says of it stands above")
        with open(found, encoding="utf-8") as file:
            results = [json.loads(line) for line in file]
        for result in results:
            if "error" in result:
                raise RuntimeError(f"request {result['line']} has no answer: {result['error']}")
        return results

    def pair(self, context: str, continuation: str) -> dict[str, Any]:
        """A request as a line of `ingot score` (Formats/score.md §1)."""
        if context.startswith(CHAT):
            return {"messages": json.loads(context[len(CHAT):]), "continuation": continuation}
        stem = context.rstrip()
        return {"prompt": stem, "raw": True, "continuation": context[len(stem):] + continuation}

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
        temperature = given.pop("temperature", None)
        samples = given.pop("do_sample", bool(temperature))
        # What transformers samples at where nothing is said.
        line["temperature"] = float(1 if temperature is None else temperature) if samples else 0.0
        line.update({name: given.pop(name) for name in SAME if given.get(name) is not None})
        if given:
            raise ValueError(f"generation arguments that `ingot run` has no like of: {', '.join(sorted(given))}")
        return line


def fingerprint(path: str) -> list[Any]:
    """What tells a model that was changed: its path, and name, size and time of each of its files."""
    # Beside a GGUF lie its configuration and its tokenizer.
    folder = os.path.dirname(os.path.abspath(path)) if path.endswith(".gguf") else path
    files = [path] if os.path.isfile(folder) else sorted(
        os.path.join(place, name) for place, _, names in os.walk(folder) for name in names)
    states = [(name, os.stat(name)) for name in files if os.path.isfile(name)]
    return [os.path.abspath(path), [(os.path.relpath(name, folder), state.st_size, state.st_mtime_ns) for name, state in states]]


def main() -> None:
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()


if __name__ == "__main__":
    sys.exit(main())
