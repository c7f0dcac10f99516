#!/usr/bin/env python3
"""Formats/solver.md as a program: plain numpy, meant to be read beside it. Sections have the document's numbers.

As a program it writes the golden expert of Formats/golden/solver, or checks it:

    ingot_solver.py            derive everything and write it
    ingot_solver.py --check    derive all results again from the stored inputs and compare

Needs Python 3.9 and numpy.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from ingot_encodings import from_bf16, read_safetensors, to_bf16, write_safetensors

f32, f64 = np.float32, np.float64
GOLDEN = Path(__file__).resolve().parents[2] / "Formats" / "golden" / "solver"
CODES = {4: (-8, 7), 8: (-127, 127)}


# 1. Chains ------------------------------------------------------------------------------------------------------------

def fma(a, b, c):
    """a · b + c of binary32 numbers, rounded once. The product is exact in binary64; the sum is rounded to odd there, after
    which the rounding to binary32 is that of the exact sum."""
    p, c = np.asarray(a, f64) * np.asarray(b, f64), np.asarray(c, f64)
    s = p + c
    part = s - p
    lost = (p - (s - part)) + (c - part)  # exactly what the sum lost
    bits = np.ascontiguousarray(s).view(np.int64)
    towards = np.where((lost > 0) == (s > 0), 1, -1)
    odd = np.where((lost != 0) & (bits & 1 == 0), bits + towards, bits)
    return odd.view(f64).astype(f32)


def chain(a, b, start):
    """Over the first index of both; for each k the outer product of two vectors, or a matrix of products."""
    s = np.array(start, f32)
    for x, y in zip(a, b):
        s = fma(x, y, s)
    return s


# 2. States ------------------------------------------------------------------------------------------------------------

def exponential(x):
    x = np.minimum(f32(89), np.maximum(f32(-105), x))
    n = np.rint(x * f32(float.fromhex("0x1.715476p+0")))
    r = fma(n, f32(-float.fromhex("0x1.62e4p-1")), x)
    r = fma(n, f32(-float.fromhex("0x1.7f7d1cp-20")), r)
    q = np.full_like(x, f32(1.9875691500e-4))
    for c in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1):
        q = fma(q, r, f32(c))
    half = np.floor(n / 2)
    return (fma(r * r, q, r) + f32(1)) * np.exp2(half).astype(f32) * np.exp2(n - half).astype(f32)


def product(z, w):
    """(tokens, columns) times (rows, columns): (tokens, rows)."""
    return chain(z.T[:, :, None], w.T[:, None, :], np.zeros((len(z), len(w)), f32))


def hidden(z, gate, up):
    g, u = product(z, gate), product(z, up)
    return (g / (f32(1) + exponential(-g))) * u


# 3. Moments -----------------------------------------------------------------------------------------------------------

def mirrored(upper):
    return np.triu(upper) + np.triu(upper, 1).T


def moments(z, omega):
    weighted = omega[:, None] * z
    return mirrored(chain(weighted[:, :, None], z[:, None, :], np.zeros((z.shape[1],) * 2, f32)))


def trace(h):
    total = 0.0
    for x in np.diag(h):
        total += float(x)
    return total


def damping(n, columns):
    return 0.1 if n == 0 else min(0.1, 0.002 + 0.03 * columns / n)


def condition(h, n, layer=None):
    """Shrunk (towards a ridge where there is no layer) and damped: H, what was added to the diagonal, k, λ, and the factor."""
    columns = len(h)
    k = 0.3 / (0.3 + n / columns)
    if layer is not None:
        h = f32(1 - k) * h + f32(k * trace(h) / trace(layer)) * layer
    else:
        equal = f32(k * trace(h) / columns)
        h = f32(1 - k) * h
        h[np.diag_indices(columns)] += equal
    mean, d, first = trace(h) / columns, np.diag(h).copy(), damping(n, columns)
    lam = first
    while True:
        h = h.copy()
        h[np.diag_indices(columns)] = d + f32(lam * mean)
        found = factor(h)
        if found is not None or lam >= 0.3:
            break
        lam = min(0.3, 10 * lam)
    if found is None:
        lam = first
        h[np.diag_indices(columns)] = d + f32(lam * mean)
    return h, f32(lam * mean), k, lam, found


# 4. Scales ------------------------------------------------------------------------------------------------------------

def grid(x, mantissa_bits, least, most):
    bits = np.asarray(x, f32).view(np.uint32)
    sign, bits = bits & np.uint32(0x80000000), (bits & np.uint32(0x7FFFFFFF)).astype(np.int64)
    shift = 23 - mantissa_bits
    bits = (bits + (1 << (shift - 1)) - 1 + (bits >> shift & 1)) >> shift << shift
    magnitude = np.minimum(most, np.maximum(least, bits.astype(np.uint32).view(f32)))
    return (magnitude.view(np.uint32) | sign).view(f32)


def code(x, bits):
    lo, hi = CODES[bits]
    return np.rint(np.minimum(f32(hi), np.maximum(f32(lo), x)))


def search_scales(w, h, bits, mantissa_bits, least, most, none):
    """w (rows, groups, G), h (groups, G), least, most and what a negligible group takes (rows, 1): scales (rows, groups)."""
    high, low = w.max(-1), w.min(-1)
    m = np.where(high >= -low, high, low)

    def error(s):
        q = code(w * (f32(1) / s)[..., None], bits)
        d = fma(-q, s[..., None], w)
        return chain(np.moveaxis(h * d, -1, 0), np.moveaxis(d, -1, 0), np.zeros_like(s))

    first, step = (5.5, 0.25) if bits == 4 else (95.5, 4.0)
    taken, least_error = None, np.full(m.shape, np.inf, f32)
    for k in range(15):
        s = grid(m / f32(first + k * step), mantissa_bits, least, most)
        taken = s if taken is None else taken
        for candidate in (s, -s) if bits == 4 else (s,):
            e = error(candidate)
            better = e < least_error
            taken, least_error = np.where(better, candidate, taken), np.where(better, e, least_error)
    for _ in range(3):
        q = code(w * (f32(1) / taken)[..., None], bits)
        hq = np.moveaxis(h * q, -1, 0)
        a = chain(hq, np.moveaxis(w, -1, 0), np.zeros_like(m))
        b = chain(hq, np.moveaxis(q, -1, 0), np.zeros_like(m))
        with np.errstate(all="ignore"):
            wanted = np.where(b > 0, a / b, taken)
        s = grid(wanted, mantissa_bits, least, most)
        e = error(s)
        better = e < least_error
        taken, least_error = np.where(better, s, taken), np.where(better, e, least_error)
    return np.where(np.abs(m) <= f32(2.0 ** -18), none, taken)


def scales_of(w, h, bits, group_size, of_bytes=False):
    rows = len(w)
    groups, weights = w.reshape(rows, -1, group_size), np.diag(h).reshape(-1, group_size)
    least, most = np.full((rows, 1), 2.0 ** -17, f32), np.full((rows, 1), 65280, f32)
    if not of_bytes:
        return search_scales(groups, weights, bits, 7, least, most, np.zeros_like(least))
    exponent = (np.abs(w).max(1, keepdims=True).view(np.uint32) >> 23).astype(np.int64)
    base = np.maximum(110, exponent - (9 if bits == 4 else 13))
    least, most = np.exp2(base - 127).astype(f32), (1.9375 * np.exp2(base - 120)).astype(f32)
    return search_scales(groups, weights, bits, 4, least, most, least)


# 5. Factor ------------------------------------------------------------------------------------------------------------

def factor(h):
    """order, U and A, or None."""
    n = len(h)
    order = np.lexsort((np.arange(n), -np.diag(h)))
    t = h[np.ix_(order[::-1], order[::-1])].copy()
    for j in range(n):
        if not (t[j, j] > 0 and np.isfinite(t[j, j])):
            return None
        t[j, j] = np.sqrt(t[j, j])
        t[j, j + 1:] /= t[j, j]
        t[j + 1:, j + 1:] = fma(-t[j, j + 1:, None], t[None, j, j + 1:], t[j + 1:, j + 1:])  # of the lower half, unused
    a = np.diag(t)[::-1].copy()
    u = np.triu(t, 1)[::-1, ::-1].T  # u[k, j] = T[n − 1 − j, n − 1 − k]
    return order, u / a[None, :], a


# 6 to 9. Codes --------------------------------------------------------------------------------------------------------

def inverse(s):
    with np.errstate(divide="ignore"):
        return np.where(s == 0, f32(0), f32(1) / s)


def feed_back(w, s, bits, order, u, a):
    """s (rows, columns), one scale for each column. Codes and errors."""
    t, codes, r = w[:, order].copy(), np.empty_like(w), inverse(s)
    error = np.zeros(len(w))
    for j, i in enumerate(order):
        codes[:, i] = code(t[:, j] * r[:, i], bits)
        q = s[:, i] * codes[:, i]
        over = (t[:, j] - q).astype(f64)
        error += float(a[j]) * float(a[j]) * (over * over)
        t[:, j + 1:] = fma(u[None, j, j + 1:], (w[:, i] - q)[:, None], t[:, j + 1:])
    return codes, error


def polish(w, s, bits, h, codes, error):
    codes, e = codes.copy(), s * codes - w
    p = np.zeros_like(w)
    for k in range(w.shape[1]):  # what is behind a column, and itself
        p[:, :k + 1] = fma(h[None, k, :k + 1], e[:, k, None], p[:, :k + 1])
    for j in range(w.shape[1]):
        hs = h[j, j] * s[:, j]
        with np.errstate(all="ignore"):
            better = np.where(hs == 0, codes[:, j], code(codes[:, j] - p[:, j] / hs, bits))
        step = ((better - codes[:, j]) * s[:, j]).astype(f64)
        error = error + step * (2 * p[:, j].astype(f64) + step * float(h[j, j]))
        codes[:, j] = better
        e[:, j] = s[:, j] * better - w[:, j]
        p[:, j + 1:] = fma(h[None, j, j + 1:], e[:, j, None], p[:, j + 1:])
    return codes, error


def measure(d, h):
    p, error = np.zeros_like(d), np.zeros(len(d))
    for j in range(d.shape[1]):
        x = d[:, j].astype(f64)
        error += x * (x * float(h[j, j]) + 2 * p[:, j].astype(f64))
        p[:, j + 1:] = fma(h[None, j, j + 1:], d[:, j, None], p[:, j + 1:])
    return error


def solve(w, conditioned, bits, group_size, of_bytes=False):
    """Codes, scales, and the sums of the rows' errors: of the codes and of the weights themselves."""
    h, _, _, _, found = conditioned
    scales = scales_of(w, h, bits, group_size, of_bytes)
    s = np.repeat(scales, group_size, 1)
    if found is None:
        codes = code(w * inverse(s), bits)
        error = measure(s * codes - w, h)
    else:
        codes, error = polish(w, s, bits, h, *feed_back(w, s, bits, *found))
    return codes.astype(np.int8), scales, np.array([add(error), add(measure(w, h))])


def add(x):
    total = 0.0
    for value in x:
        total += float(value)
    return total


# Golden expert --------------------------------------------------------------------------------------------------------

CASES = {"int4-g16": (4, 16), "int4-g32": (4, 32), "int4-g64": (4, 64), "int4-g128": (4, 128), "int8-g64": (8, 64),
         "int4-g32s8": (4, 32, True), "int8-g64s8": (8, 64, True)}


def make_inputs():
    """An expert of 128 columns and 128 hidden ones in a layer of 300 tokens, 130 of which it sees."""
    rng = np.random.default_rng(12)
    columns, rows, tokens = 128, 128, 300
    mix = rng.normal(size=(columns, columns)) * np.exp(rng.normal(size=columns) * 0.8)
    z = rng.normal(size=(tokens, columns)) @ mix / 8 + rng.normal(size=columns) / 2
    mine = rng.permutation(tokens) < 130
    weight = (rng.random(tokens) ** 2).astype(f32) * np.where(rng.random(tokens) < 0.4, f32(1), f32(0.01))
    def matrix(n, m):
        w = rng.normal(size=(n, m)) * 0.05
        w[rng.random((n, m)) < 0.01] *= 8
        return w
    gate, up, down = matrix(rows, columns), matrix(rows, columns), matrix(columns, rows)
    gate[3], gate[5, 32:64], down[7, 64:] = 0, 1e-7, 0
    bf16 = lambda x: ("BF16", to_bf16(x.astype(f32)))
    return {"layer.states": bf16(z), "layer.weights": ("F32", weight * f32(1.5)),
            "expert.tokens": ("U8", mine.astype(np.uint8)), "expert.weights": ("F32", weight[mine]),
            "gate": bf16(gate), "up": bf16(up), "down": bf16(down)}


def derive(inputs):
    x = {name: from_bf16(array) if dtype == "BF16" else array for name, (dtype, array) in inputs.items()}
    layer = moments(x["layer.states"], x["layer.weights"])
    z, omega = x["layer.states"][x["expert.tokens"] == 1], x["expert.weights"]
    h = hidden(z, x["gate"], x["up"])
    states = condition(moments(z, omega), len(z), layer)
    inner = condition(moments(h, omega), len(z))
    out = {"hidden": ("F32", h)}
    for name, conditioned in (("states", states), ("inner", inner)):
        out[name + ".moments"] = "F32", conditioned[0]
        out[name + ".conditioning"] = "F64", np.array([conditioned[2], conditioned[3], float(conditioned[1])])
    for case, arguments in CASES.items():
        for name, conditioned in (("gate", states), ("up", states), ("down", inner)):
            if name == "up" and case != "int4-g64":
                continue
            codes, scales, errors = solve(x[name], conditioned, *arguments)
            out[f"{case}.{name}.codes"] = "U8", codes.view(np.uint8)
            out[f"{case}.{name}.scales"] = "F32", scales
            out[f"{case}.{name}.errors"] = "F64", errors
    return out


def main():
    parser = argparse.ArgumentParser(prog="ingot_solver.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the stored expert; exit 1 if anything differs")
    parser.add_argument("--directory", type=Path, default=GOLDEN, help="(default: Formats/golden/solver)")
    a = parser.parse_args()
    if not a.check:
        inputs = make_inputs()
        a.directory.mkdir(parents=True, exist_ok=True)
        write_safetensors(a.directory / "inputs.safetensors", inputs, {})
        write_safetensors(a.directory / "expert.safetensors", derive(inputs), {})
        return 0
    inputs, _ = read_safetensors(a.directory / "inputs.safetensors")
    stored, _ = read_safetensors(a.directory / "expert.safetensors")
    derived = derive(inputs)
    wrong = [name for name in sorted({*derived, *stored}) if name not in derived or name not in stored
             or derived[name][1].tobytes() != stored[name][1].tobytes()]
    for name in wrong:
        print(f"{name} differs")
    print(f"{len(derived)} results, {len(wrong)} differences")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
