#!/usr/bin/env python3
"""Formats/encodings.md as a program: slow, plain, and meant to be read beside it. Sections have the document's numbers;
what a reader needs of them is in the module ingot, Tools/python/ingot/encodings.py.

As a program it writes the golden vectors of Formats/golden/encodings, or checks them:

    ingot_encodings.py            derive all vectors and write them
    ingot_encodings.py --check    derive all results again from the stored inputs and compare

Needs Python 3.9 and numpy.
"""

import argparse
import json
import struct
import sys
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python"))
from ingot.encodings import BASES, ENCODINGS, decode, f32, from_bf16, is_portable, join_bytes, unpack_codes  # noqa: E402


class Refusal(Exception):
    """The numbers cannot be held in the encoding."""


def to_bf16(x):
    """Round binary32 to nearest, ties to even; the bits. Not for infinities and NaNs."""
    bits = np.asarray(x, f32).view(np.uint32).astype(np.int64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


# 2. Groups ------------------------------------------------------------------------------------------------------------

def groups_of(x, group_size):
    """[…, columns] to [groups, G]."""
    if x.shape[-1] % group_size:
        raise Refusal(f"{x.shape[-1]} columns are no multiple of {group_size}")
    return np.ascontiguousarray(x, f32).reshape(-1, group_size)


# 3.1 bf16 scales ------------------------------------------------------------------------------------------------------------

LEAST = f32(2.0 ** -17)
MOST = f32(65280)
NOTHING = f32(2.0 ** -18)       # a group that does not exceed this has scale +0


def portable(x):
    """The portable values for wanted scales, as binary32."""
    x = np.asarray(x, f32)
    if not np.isfinite(x).all():
        raise Refusal("a scale is not finite")
    s = from_bf16(to_bf16(x))
    s = np.where(np.abs(s) < LEAST, np.copysign(LEAST, x), s)
    if (np.abs(s) > MOST).any():
        raise Refusal(f"a scale of {np.abs(x).max()} is above {MOST}")
    return s


# 3.2 Byte scales ------------------------------------------------------------------------------------------------------

BELOW = {"int4": 9, "int8": 13}         # from the exponent of a row's largest magnitude to its base


def bits_of(x):
    return np.asarray(x, f32).view(np.uint32).astype(np.int64)


def bases_of(x, code):
    """The bases [rows] of rows x [rows, columns]."""
    exponents = bits_of(np.abs(x).max(axis=1)) >> 23
    bases = np.maximum(exponents - BELOW[code], BASES[0])
    if (bases > BASES[-1]).any():
        raise Refusal(f"a magnitude of {np.abs(x).max()} has no byte scale")
    return bases


def grid(index):
    """The scale of an index: exponent and four bits of mantissa."""
    return (np.asarray(index).astype(np.uint32) << np.uint32(19)).view(f32)


# 4, 5. int8 and int4 --------------------------------------------------------------------------------------------------

RANGE = {"int8": (-127, 127), "int4": (-8, 7)}


def pack_codes(codes, kind):
    """Signed codes [n] to plane 0."""
    codes = codes.reshape(-1)
    if kind == "int8":
        return codes.astype(np.int8).view(np.uint8)
    runs = (codes + 8).astype(np.uint8).reshape(-1, 32)     # byte j: element j low, element j + 16 high
    return (runs[:, :16] | runs[:, 16:] << 4).reshape(-1)


# 7. From a scale to codes ---------------------------------------------------------------------------------------------

def unclamped(x, s):
    """rint(x · r) of groups x [groups, G] under scales s [groups]; 0 where s = 0."""
    with np.errstate(divide="ignore"):
        r = np.where(s == 0, f32(0), f32(1) / s)
    return np.rint(x * r[:, None])


def codes_for(x, s, kind):
    return np.clip(unclamped(x, s), *RANGE[kind]).astype(np.int32)


# 8. Solver absmax -----------------------------------------------------------------------------------------------------

def absmax(x, kind):
    """The scales [groups] of groups x [groups, G]."""
    a = np.abs(x).max(axis=1)
    nothing = a <= NOTHING
    p = f32(127 if kind == "int8" else 7)
    s = np.where(nothing, f32(0), portable(np.where(nothing, f32(1), a / p)))
    return s


LARGEST = {"int8": 127, "int4": 7}


def absmax_index(x, code):
    """§8.2: the indices [groups] of the least scales under which no element is more than half a step beyond."""
    return bits_of(np.abs(x).max(axis=1) / f32(LARGEST[code] + 0.5)) + 0x7FFFF >> 19


def absmax_bytes(x, code, lowest):
    """The bytes [groups] of groups x [groups, G] whose rows have lowest indices `lowest`."""
    return np.clip(absmax_index(x, code) - lowest, 0, 127)


# 9. Solver search -----------------------------------------------------------------------------------------------------

SEARCH_X = {"int8": 4096, "int4": 1024}
SEARCH_R = {"int4": [198 + (103 * k + 5) // 11 for k in range(12)],
            "int8": [896 + 8 * k for k in range(16)]}


def search(x, kind, is_positive=False):
    """The scales [groups] of groups x [groups, G]; §9.3 where all are to be positive."""
    X, (lo, hi) = SEARCH_X[kind], RANGE[kind]
    most, least = x.max(axis=1), x.min(axis=1)
    m = np.where(most >= -least, most, least)
    nothing = np.abs(m) <= NOTHING
    m = np.where(nothing, f32(1), -np.abs(m) if is_positive else m)
    f = f32(-X) / m
    xi = np.rint(x * f[:, None]).astype(np.int64)

    best_gain = np.full(len(x), -1, f32)
    best = np.zeros(len(x), f32)        # A / B of the best multiplier
    for r in SEARCH_R[kind]:
        q = np.clip((xi * r + (1 << 14)) >> 15, lo, hi)
        A = (xi * q).sum(axis=1).astype(f32)
        B = (q * q).sum(axis=1).astype(f32)
        some = np.where(B == 0, f32(1), B)
        gain = np.where(B == 0, f32(0), A * A / some)
        better = gain > best_gain
        best_gain = np.where(better, gain, best_gain)
        best = np.where(better, A / some, best)

    return np.where(nothing, f32(0), portable(np.where(nothing, f32(1), best * (m / f32(-X)))))


GRID_C = {"int4": f32(27 / 256), "int8": f32(1 / 128)}
GRID_K = {"int4": 12, "int8": 4}


def search_bytes(x, code, lowest, is_positive=False):
    """§9.2: the bytes [groups] of groups x [groups, G]."""
    X, (lo, hi) = SEARCH_X[code], RANGE[code]
    most, least = x.max(axis=1), x.min(axis=1)
    m = np.where(most >= -least, most, least)
    nothing = np.abs(m) <= NOTHING
    m = np.where(nothing, f32(1), -np.abs(m) if is_positive else m)
    f = f32(-X) / m
    xi = np.rint(x * f[:, None]).astype(np.int64)
    first = bits_of(np.abs(m) * GRID_C[code]) >> 19

    best_gain = np.full(len(x), -np.inf, f32)
    best = np.zeros(len(x), np.int64)
    for k in range(GRID_K[code]):
        byte = np.clip(first + k - lowest, 0, 127)
        u = grid(lowest + byte) * np.abs(f)
        r = np.rint(f32(2 ** 15) / u).astype(np.int64)
        q = np.clip((xi * r[:, None] + (1 << 14)) >> 15, lo, hi)
        A = (xi * q).sum(axis=1).astype(f32)
        B = (q * q).sum(axis=1).astype(f32)
        gain = u * ((A + A) - u * B)
        better = gain > best_gain
        best_gain = np.where(better, gain, best_gain)
        best = np.where(better, byte, best)
    return np.where(nothing, 0, np.where(m > 0, best | 0x80, best))


SOLVERS = {"absmax": absmax, "search": search, "search-positive": partial(search, is_positive=True)}
BYTE_SOLVERS = {"absmax": absmax_bytes, "search": search_bytes, "search-positive": partial(search_bytes, is_positive=True)}


def encode(x, code, scale, group_size, solver):
    """Plane 0, plane 1 (bf16 bits or bytes), the statistics of a tensor x in one chunk, and its clamped groups."""
    if not np.isfinite(x).all():
        raise Refusal("an element is not finite")
    groups = groups_of(x, group_size)
    if scale == "bf16":
        s = SOLVERS[solver](groups, code)
        plane, clamped = to_bf16(s), 0
    else:
        bases = bases_of(x, code)
        row_groups = x.shape[1] // group_size
        lowest = np.repeat(16 * bases, row_groups)
        found = BYTE_SOLVERS[solver](groups, code, lowest)
        plane = np.concatenate([bases[:, None], found.reshape(-1, row_groups)], axis=1).astype(np.uint8).reshape(-1)
        s = join_bytes(plane.tobytes(), row_groups)
        clamped = int(((np.abs(groups).max(axis=1) > 0) & (absmax_index(groups, code) < lowest)).sum())
    return pack_codes(codes_for(groups, s, code), code), plane, statistics(groups, s, code), clamped


# 10. Errors of a tensor -----------------------------------------------------------------------------------------------

def group_sums(e):
    """Σ e² of every group: 16 partial sums in binary32, then added in pairs."""
    sums = np.zeros((len(e), 16), f32)
    for i in range(0, e.shape[1], 16):
        part = e[:, i:i + 16]
        sums = sums + part * part
    for half in (8, 4, 2, 1):
        sums = sums[:, :half] + sums[:, half:2 * half]
    return sums[:, 0]


def in_order(sums):
    """Their sum in binary64, one after the other."""
    return float(np.cumsum(sums.astype(np.float64))[-1])


def statistics(x, s, kind):
    """Of groups x [groups, G] in one chunk: Σ (x − y)², Σ x², relative RMSE, saturated codes, saturated share."""
    lo, hi = RANGE[kind]
    y = codes_for(x, s, kind).astype(f32) * s[:, None]
    errors, squares = in_order(group_sums(x - y)), in_order(group_sums(x))
    wanted = unclamped(x, s)
    saturated = int(((wanted <= lo) | (wanted >= hi)).sum())
    return np.array([errors, squares, np.sqrt(errors / squares) if squares else 0, saturated, saturated / x.size])


# Golden vectors -------------------------------------------------------------------------------------------------------
#
# Formats/golden/encodings/README.md says what the files hold.

GOLDEN = Path(__file__).resolve().parents[2] / "Formats" / "golden" / "encodings"
DTYPES = {"F32": "<f4", "BF16": "<u2", "F16": "<u2", "U8": "u1", "F64": "<f8"}


def write_safetensors(path, tensors, metadata):
    """tensors: {name: (dtype, array)}; BF16 and F16 as uint16."""
    header, at, data = {"__metadata__": metadata}, 0, []
    for name, (dtype, array) in sorted(tensors.items(), key=lambda t: (-np.dtype(DTYPES[t[1][0]]).itemsize, t[0])):
        raw = np.ascontiguousarray(array, DTYPES[dtype]).tobytes()
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [at, at + len(raw)]}
        at += len(raw)
        data.append(raw)
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    path.write_bytes(struct.pack("<Q", len(head)) + head + b"".join(data))


def read_safetensors(path):
    raw = path.read_bytes()
    start = 8 + struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:start])
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, t in header.items():
        first, end = t["data_offsets"]
        array = np.frombuffer(raw[start + first:start + end], DTYPES[t["dtype"]]).reshape(t["shape"])
        tensors[name] = (t["dtype"], array)
    return tensors, metadata


def as_f32(dtype, array):
    return from_bf16(array) if dtype == "BF16" else array


def make_inputs():
    """{case: (dtype, array)}, 2 rows of 256 unless something else is needed."""
    random = np.random.Generator(np.random.PCG64(20))
    shape = 2, 256
    cases = {}

    def bf16(name, x):
        cases[name] = "BF16", to_bf16(np.asarray(x, f32))

    def exact(name, x):
        cases[name] = "F32", np.asarray(x, f32)

    def per_group(values):
        """One number for each 32 elements, [2, 256]."""
        return np.repeat(np.resize(np.asarray(values, f32), 16), 32).reshape(shape)

    normal = random.standard_normal(shape, dtype=f32)
    signs = np.where(random.random(shape) < 0.5, f32(-1), f32(1))

    # nothing, and next to nothing
    bf16("zeros", np.where(signs > 0, f32(0), f32(-0.0)))
    up, down = f32(1 + 2 ** -7), f32(1 - 2 ** -8)
    edges = NOTHING * np.array([1, up, down, 2, 2 * up, 2 * down, 7, 8, 1, -1, -up, -down, -2, -7, 127, -128], f32)
    bf16("tiny", np.where(np.arange(256) % 32 == 5, per_group(edges), per_group(edges) * f32(0.25) * signs))
    above = np.nextafter(NOTHING, f32(1))
    exact("tiny-one-bit-above", np.where(np.arange(256) % 32 == 31, per_group([above, -above, NOTHING, -NOTHING]), 0))
    exact("subnormal-squares", normal * f32(2.0 ** -68))
    exact("subnormal", normal * f32(2.0 ** -130))
    bf16("least-scale", normal * f32(2.0 ** -15))
    bf16("zero-groups-among-others", np.where(per_group([1, 0, 1, 0, 0]) != 0, normal, 0))

    # ties of rint: scale 2^k under absmax, elements half-way between codes
    steps = (np.arange(512) % 16 - 8 + 0.5).clip(-7, 7).reshape(shape)
    bf16("ties-int4", np.where(np.arange(256) % 32 == 0, f32(7), steps) * per_group(2.0 ** np.arange(-6, 10)))
    steps = (np.arange(512) % 254 - 127 + 0.5).reshape(shape)
    bf16("ties-int8", np.where(np.arange(256) % 32 == 0, f32(127), steps) * per_group(2.0 ** np.arange(-6, 10)))
    # ties of the bf16 rounding of the scale
    halves = np.array([k * 2.0 ** -8 + 1 for k in (1, 3, 5, 7, 253, 255)], f32)
    for p in 7, 127:
        exact(f"scale-ties-{p}", np.where(np.arange(256) % 32 == 9, per_group(halves * f32(p)), normal * f32(0.3) * p))

    # the largest element: alone, twice with both signs, negative by one bit, last of the group
    bf16("one-outlier-in-zeros", np.where(np.arange(256) % 128 == 77, per_group([3.25, -3.25, 1, -0.0078125]), 0))
    bf16("one-outlier", np.where(np.arange(256) % 32 == 17, f32(40) * signs, normal))
    bf16("outlier-last", np.where(np.arange(256) % 128 == 127, f32(-9), normal))
    both = np.where(np.arange(256) % 32 == 3, f32(4), np.where(np.arange(256) % 32 == 20, f32(-4), normal.clip(-3, 3)))
    bf16("both-signs-equal", both)
    exact("negative-by-one-bit", np.where(both == -4, np.nextafter(f32(-4), f32(-5)), both))
    bf16("alternating", per_group(1.0 + np.arange(16) / 16) * np.where(np.arange(256) % 2, f32(1), f32(-1)))
    bf16("constant", per_group([0.5, -0.5, 0.0123, -77, 3.0]))
    bf16("ramp", np.linspace(-1, 1, 512).reshape(shape))
    bf16("two-elements", np.where(np.arange(256) % 32 < 2, normal, 0))

    # the usual
    bf16("normal", normal * f32(0.02))
    exact("normal-f32", random.standard_normal(shape, dtype=f32) * f32(0.02))
    bf16("heavy-tailed", (random.standard_cauchy(shape) * 0.01).clip(-3e4, 3e4))
    bf16("log-normal", np.exp(random.standard_normal(shape) * 3) * signs)
    bf16("normal-many-groups", random.standard_normal((7, 512)) * 0.02 * np.exp(random.standard_normal((7, 1)) * 0.25))

    # up to the limit of a scale (65408 would round to 65536), and beyond: absmax and search part here
    for p in 7, 127:
        last = np.nextafter(f32(65408 * p), f32(0))
        others = (normal * f32(0.1 * p * 65408)).clip(-last, last)
        exact(f"limit-{p}", np.where(np.arange(256) % 32 == 11, last * signs, others))
        exact(f"limit-{p}-reached", np.where(np.arange(512).reshape(shape) == 300, f32(65408 * p), normal))
    bf16("huge", normal.clip(-3, 3) * f32(130000))
    exact("too-large", np.where(np.arange(512).reshape(shape) == 511, f32(-3e38), normal))
    exact("infinity", np.where(np.arange(512).reshape(shape) == 400, f32(np.inf), normal))
    exact("nan", np.where(np.arange(512).reshape(shape) == 31, f32(np.nan), normal))
    return cases


def derive_portable():
    """Wanted scales on both sides of each edge; the refused ones have 0xFFFF."""
    edges = [2.0 ** -126, 2.0 ** -30, 2.0 ** -18, 2.0 ** -17 * (1 - 2 ** -9), 2.0 ** -17, 2.0 ** -17 * (1 + 2 ** -8),
             2.0 ** -17 * (1 + 3 * 2 ** -8), 0.1, 1, 1 + 2 ** -8, 1 + 3 * 2 ** -8, 3.14159, 65280, 65408, 65536, 1e30]
    x = np.array([np.nextafter(f32(e), f32(to)) if to is not None else f32(e) for e in edges for to in (0, None, 3e38)])
    x = np.concatenate([x, -x]).astype(f32)
    wanted = []
    for value in x:
        try:
            wanted.append(to_bf16(portable(value)))
        except Refusal:
            wanted.append(np.uint16(0xFFFF))
    return {"wanted": ("F32", x), "portable": ("BF16", np.array(wanted, np.uint16))}


def derive_decode():
    """Every code and a few scales; plain encodings at their edges."""
    tensors = {}
    scales = np.array([0x3F80, 0xBF80, 0x3700, 0xB700, 0x477F, 0xC77F, 0x3DCD, 0xBC13] * 2, np.uint16)
    for kind, id, plane in (("int8", 16, np.arange(-127, 129).clip(-127, 127).astype(np.int8).view(np.uint8)),
                            ("int4", 17, np.arange(256).astype(np.uint8))):
        s = scales[:2 * plane.size // 32 if kind == "int4" else plane.size // 32]
        tensors[kind + ".codes"], tensors[kind + ".scales"] = ("U8", plane), ("BF16", s)
        tensors[kind + ".decoded"] = "F32", decode(id, 32, plane.tobytes(), s.tobytes(), 32)
    # One row with the least base and one with the largest, every scale in one of them.
    for name, id, group_size, plane in (
            ("int8s8", 18, 32, (np.arange(8192) * 37 % 255 - 127).astype(np.int8).view(np.uint8)),
            ("int4s8", 19, 16, (np.arange(2048) * 37 % 256).astype(np.uint8))):
        for row, base in enumerate((BASES[0], BASES[-1])):
            s = np.concatenate([[base], np.arange(256)]).astype(np.uint8)
            stem = f"{name}.{row}"
            tensors[stem + ".codes"], tensors[stem + ".scales"] = ("U8", plane), ("U8", s)
            tensors[stem + ".decoded"] = "F32", decode(id, group_size, plane.tobytes(), s.tobytes(), 256 * group_size)
    f16 = np.concatenate([np.arange(0, 0x7C01, 0xFF), [1, 0x3FF, 0x400, 0x7BFF, 0x7C00]]).astype(np.uint16)
    f16 = np.concatenate([f16, f16 | 0x8000])
    tensors["f16.elements"], tensors["f16.decoded"] = ("F16", f16), ("F32", decode(1, 0, f16.tobytes(), b"", 1))
    bf16 = np.concatenate([np.arange(0, 0x7F81, 0xFF), [1, 0x7F, 0x80, 0x7F7F, 0x7F80]]).astype(np.uint16)
    bf16 = np.concatenate([bf16, bf16 | 0x8000])
    tensors["bf16.elements"], tensors["bf16.decoded"] = ("BF16", bf16), ("F32", decode(2, 0, bf16.tobytes(), b"", 1))
    return tensors


def derive(inputs):
    """{file: (tensors, metadata)} of everything that follows from the inputs."""
    files = {"decode.safetensors": (derive_decode(), {}), "portable.safetensors": (derive_portable(), {})}
    for e in (e for e in ENCODINGS.values() if e.code):
        for group_size in e.group_sizes:
            for solver in SOLVERS:
                tensors, table, all_clamped, refused = {}, [], [], []
                for case, (dtype, array) in sorted(inputs.items()):
                    try:
                        codes, scales, numbers, clamped = encode(
                            as_f32(dtype, array), e.code, e.scale, group_size, solver)
                    except Refusal:
                        refused.append(case)
                        continue
                    tensors[case + ".codes"] = "U8", codes
                    tensors[case + ".scales"] = "BF16" if e.scale == "bf16" else "U8", scales
                    table.append(numbers)
                    all_clamped.append(clamped)
                tensors["statistics"] = "F64", np.array(table)
                if e.scale == "byte":
                    tensors["clamped"] = "F64", np.array(all_clamped, np.float64)
                name = f"{e.full_name(group_size)}-{solver}.safetensors"
                files[name] = tensors, {"refused": " ".join(refused)}
    return files


def check_laws(files):
    """What §3, §4 and §7 promise of every result."""
    for file, (tensors, _) in files.items():
        kind, group_size = file[:4], file[6:].split("-")[0]
        if kind not in RANGE:
            continue
        for name in (n[:-6] for n in tensors if n.endswith(".codes")):
            has_bytes = group_size.endswith("s8")
            size = int(group_size.removesuffix("s8"))
            codes = unpack_codes(tensors[name + ".codes"][1], kind).reshape(-1, size)
            scales = tensors[name + ".scales"][1]
            if has_bytes:
                columns = 512 if name == "normal-many-groups" else 256
                scales = to_bf16(join_bytes(scales.tobytes(), columns // size))
            assert is_portable(scales).all() and codes.min() >= RANGE[kind][0], (file, name)
            assert not codes[scales == 0].any(), (file, name)


def main():
    parser = argparse.ArgumentParser(prog="ingot_encodings.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the stored vectors; exit 1 if any differs")
    parser.add_argument("--directory", type=Path, default=GOLDEN, help="(default: Formats/golden/encodings)")
    a = parser.parse_args()

    if not a.check:
        inputs = make_inputs()
        files = derive(inputs)
        check_laws(files)
        a.directory.mkdir(parents=True, exist_ok=True)
        write_safetensors(a.directory / "inputs.safetensors", inputs, {})
        for name, (tensors, metadata) in files.items():
            write_safetensors(a.directory / name, tensors, metadata)
        size = sum(p.stat().st_size for p in a.directory.glob("*.safetensors"))
        print(f"{len(inputs)} cases, {len(files) + 1} files, {size:,} bytes in {a.directory}")
        return 0

    differences = 0
    inputs, _ = read_safetensors(a.directory / "inputs.safetensors")
    files = derive(inputs)
    check_laws(files)
    for name, (tensors, metadata) in files.items():
        stored, stored_metadata = read_safetensors(a.directory / name)
        wrong = [t for t in sorted({*tensors, *stored})
                 if t not in tensors or t not in stored or tensors[t][0] != stored[t][0]
                 or tensors[t][1].tobytes() != stored[t][1].tobytes()]
        if metadata != stored_metadata:
            wrong.append("metadata")
        for t in wrong:
            print(f"{name}: {t} differs")
        differences += len(wrong)
    print(f"{len(inputs)} cases, {len(files)} files, {differences} differences")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
