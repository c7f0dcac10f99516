"""Compares Ingot's rendering of chat templates with Jinja's, byte for byte.

    compare_templates.py RENDERER [--conversations N] [--mutations N] FILE.jinja|DIRECTORY...

RENDERER is the built `render-template`. Jinja is set up as Hugging Face's `apply_chat_template` does. Where Jinja
raises an error, Ingot must refuse, too; where Jinja renders, Ingot must give the same bytes, and must mark as said by
somebody all of what only the conversation can have brought in. Of templates with random changes nothing else is asked
than that Ingot gives the same text where it gives one.
"""
import argparse, json, os, random, re, subprocess, sys

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Generation(Extension):
    """`{% generation %}`: its body, in a scope of its own."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def environment():
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def strftime_now(format):
        from datetime import datetime

        return datetime.now().strftime(format)

    result = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
    )
    result.filters["tojson"] = tojson
    result.globals["raise_exception"] = raise_exception
    result.globals["strftime_now"] = strftime_now
    return result


# Letters that no template writes of itself, so that they show where somebody's words went.
SAID = "αβγδεζ漢字😀é"
PIECES = [
    "", " ", "\n", "\r\n", "\t", "a", "Hello", "What is 2+2?", "<think>", "</think>", "<think>\n", "\n</think>\n\n",
    "<|role_end|>", "<role>HUMAN</role>", "<|im_start|>", "<|im_end|>", "<tool_response>", "</tool_response>", "<|mask|>",
    "{{ x }}", "{% if %}", "{#", "'", '"', "\\", "\\n", "&<>", "\u00a0", "\u2028", "\u200b", "\u0000", "\u001f", "\u007f",
    "e\u0301", "İ", "ß", "ΣΑΣ", "ﬁ", "🏳️‍🌈", "\U0001f1e9\U0001f1ea", "/no_think", "/think", "0", "1.0", "true", "None", *SAID,
]


def text(r, most=6):
    return "".join(r.choice(PIECES) for _ in range(r.randrange(most)))


def value(r, depth=0):
    kind = r.randrange(8 if depth < 3 else 6)
    if kind == 0:
        return None
    if kind == 1:
        return r.random() < 0.5
    if kind == 2:
        return r.choice([0, -1, 7, 2**31, -(2**63), 2**63 - 1])
    if kind == 3:
        return r.choice([0.0, -0.0, 1.5, 1e16, 1e15, 123456789012345680.0, 1e-5, 0.0001, 1e22, 5e-324, 0.1, 2.0**60])
    if kind < 6:
        return text(r)
    if kind == 6:
        return [value(r, depth + 1) for _ in range(r.randrange(4))]
    return {text(r, 3) + str(i): value(r, depth + 1) for i in range(r.randrange(4))}


def tool(r):
    function = {
        "name": r.choice(["add", "get_weather", "sucht ä"]),
        "description": text(r),
        "parameters": {
            "type": "object",
            "properties": {r.choice("abc") + str(i): {"type": "string", "x": value(r)} for i in range(r.randrange(3))},
            "required": [],
        },
    }
    return {"type": "function", "function": function} if r.random() < 0.8 else function


def call(r):
    arguments = {r.choice("abcäß") + str(i): value(r) for i in range(r.randrange(4))}
    function = {"name": r.choice(["add", "get_weather"]), "arguments": arguments}
    if r.random() < 0.3:
        function["arguments"] = json.dumps(function["arguments"])
    return {"id": "call_1", "type": "function", "function": function} if r.random() < 0.7 else function


def message(r, role):
    result = {"role": role, "content": text(r)}
    if role == "assistant":
        if r.random() < 0.3:
            result["content"] = text(r) + "<think>" + text(r) + "</think>" + text(r)
        if r.random() < 0.3:
            result["reasoning_content"] = r.choice([None, "", text(r)])
        if r.random() < 0.4:
            result["tool_calls"] = [call(r) for _ in range(r.randrange(3))]
        if r.random() < 0.1:
            result["content"] = None
    if role == "user" and r.random() < 0.15:
        result["content"] = "<tool_response>" + text(r) + "</tool_response>"
    if r.random() < 0.01:
        result["content"] = [{"type": "text", "text": text(r)}]
    if r.random() < 0.005:
        del result["content"]
    return result


def conversation(r):
    if r.random() < 0.6:
        roles = [role for _ in range(r.randrange(1, 4)) for role in ("user", "assistant")][: -1 if r.random() < 0.7 else None]
        roles = ["system"] * (r.random() < 0.4) + roles
    else:
        roles = [r.choice(["system", "user", "assistant", "tool", "tool", "odd"]) for _ in range(r.randrange(7))]
    variables = {"messages": [message(r, role) for role in roles], "add_generation_prompt": r.random() < 0.7}
    # Hugging Face passes these in any case; None is what a caller leaves out.
    variables["tools"] = r.choice([None, None, [], [tool(r)], [tool(r), tool(r)]])
    variables["documents"] = None
    if r.random() < 0.7:
        variables.update(bos_token="<s>", eos_token="</s>", mask_token="<|mask|>")
    if r.random() < 0.5:
        variables["enable_thinking"] = r.random() < 0.5
    if r.random() < 0.3:
        variables["thinking_option"] = r.choice(["on", "off"])
    return variables


def templates(paths):
    for path in paths:
        if os.path.isdir(path):
            yield from templates(os.path.join(path, n) for n in sorted(os.listdir(path)) if n.endswith(".jinja"))
        else:
            yield path


WORDS = [
    "{{", "}}", "{%", "%}", "{#", "#}", "-", "+", "if", "for", "in", "set", "endif", "endfor", "not", "is", "defined", "x",
    "messages", "loop", ".", "(", ")", "[", "]", "{", "}", ":", ",", "|", "tojson", "'", '"', "~", "//", "%", "0", "-1", "1.5",
    "else", "none", "split", "join", "*", "length", "select", "map", "=", "==", "<", "int", "items", "lower", "string", "first",
    "reverse", "trim", "not in", "and", "or", "loop.last", "loop.index0", "message", "content", "namespace", "true", "'a'", "\n",
]  # fmt: skip


def mutated(r, source):
    """A template with some of its words taken away, moved, or replaced."""
    words = re.findall(r"\w+|\s+|[^\w\s]+", source)
    for _ in range(r.randrange(1, 4)):
        place = r.randrange(len(words))
        match r.randrange(4):
            case 0:
                words[place] = ""
            case 1:
                words.insert(place, r.choice(WORDS))
            case 2:
                words[place] = r.choice(WORDS)
            case _:
                words[place] = r.choice(words)
    return "".join(words)


def ask(renderer, lines):
    text = "".join(json.dumps(line) + "\n" for line in lines)
    run = subprocess.run([renderer], input=text, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in run.stdout.split("\n") if line]


def compare_mutations(renderer, jinja, sources, conversations, count, r):
    """How many templates Ingot renders otherwise than Jinja."""
    cases = [(mutated(r, r.choice(sources)), r.choice(conversations)) for _ in range(count)]
    answers = ask(renderer, [{"template": t, "variables": v} for t, v in cases])
    assert len(answers) == len(cases)
    failures = same = 0
    for (source, variables), answer in zip(cases, answers):
        if "error" in answer:
            continue
        try:
            wanted = render(jinja.from_string(source), variables)
        except jinja2.exceptions.TemplateError as error:
            wanted = error
        if answer["text"] == wanted:
            same += 1
            continue
        failures += 1
        if failures <= 10:
            print(f"Jinja: {wanted!r}\nIngot: {answer['text']!r}\n{json.dumps(variables)}\n{source}")
    print(f"{count} changed templates: {same} rendered alike, {count - same - failures} refused")
    return failures


def render(template, variables):
    try:
        return template.render(**variables)
    except Exception as error:  # whatever Python raises, Ingot must refuse
        return error


def unmarked(answer):
    """What is not marked as somebody's words."""
    data, rest, end = answer["text"].encode(), b"", 0
    for start, stop in answer["contents"]:
        rest += data[end:start]
        end = stop
    return (rest + data[end:]).decode()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("renderer")
    parser.add_argument("templates", nargs="+")
    parser.add_argument("--conversations", type=int, default=1000)
    parser.add_argument("--mutations", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    r = random.Random(options.seed)
    conversations = [conversation(r) for _ in range(options.conversations)]
    jinja = environment()
    failures, sources = 0, []
    for path in templates(options.templates):
        source = open(path, encoding="utf-8", newline="").read()
        sources.append(source)
        answers = ask(options.renderer, [{"template": source}] + [{"variables": v} for v in conversations])
        assert len(answers) == len(conversations), (path, len(answers))
        template = jinja.from_string(source)
        own = set(SAID) & set(source)
        rendered = refused = 0
        for variables, answer in zip(conversations, answers):
            wanted = render(template, variables)
            if isinstance(wanted, Exception):
                refused += 1
                problem = None if "error" in answer else f"Jinja refuses: {wanted!r}"
            elif "error" in answer:
                problem = f"line {answer['line']}, {answer['kind']}: {answer['error']}"
            elif answer["text"] != wanted:
                problem = f"Jinja: {wanted!r}\n  Ingot: {answer['text']!r}"
            elif (set(SAID) - own) & set(unmarked(answer)):
                problem = f"somebody's words are taken for the template's: {unmarked(answer)!r}"
            else:
                rendered += 1
                problem = None
            if problem:
                failures += 1
                if failures <= 10:
                    print(f"{path}: {problem}\n  {json.dumps(variables, ensure_ascii=False)}")
        print(f"{path}: {rendered} of {len(conversations)} rendered alike, {refused} refused by both")
        if not rendered:
            failures += 1
            print(f"{path}: nothing was compared")
    if options.mutations:
        failures += compare_mutations(options.renderer, jinja, sources, conversations, options.mutations, r)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
