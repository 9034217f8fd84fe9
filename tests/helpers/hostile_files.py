"""Reads damaged and hostile files in a process of its own: ``python hostile_files.py FOLDER``.

It prints one line for each file that takes more time or memory than it may, that runs code, or
that ends in another error than those of the readers.
"""

import pickle
import resource
import struct
import sys
import time
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch

from sknoisy.datasets import load_cifar_n
from sknoisy.datasets._cifar import _read_batch

SECONDS, BYTES = 1, 100 * 2**20
FORBIDDEN = {"os.system", "os.exec", "os.mkdir", "os.remove", "subprocess.Popen"}
FORBIDDEN |= {"pickle.find_class", "socket.connect", "ctypes.dlopen"}
N_MUTATIONS = 200


def nested(n_bytes):
    """Return a pickle of a tuple in a tuple in a tuple ..."""
    return b"N" + b"\x85" * n_bytes


def shared(n_levels):
    """Return a pickle of 2 ** n_levels references to one object: pairs of the same pair."""
    return b"N" + b"".join(
        b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(n_levels)
    )


def array(shape, raw=b"C\x00"):
    """Return a pickle of an array of bytes with this pickled shape."""
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nI0\n\x85C\x01bt"
        b"R(I1\n" + shape + b"cnumpy\ndtype\n(X\x02\x00\x00\x00u1I0\nI1\ntRI0\n" + raw + b"tb"
    )


HUGE = b"\x8b" + struct.pack("<i", 1700) + b"\x01" * 1700  # LONG4, of 4,000 digits
LIES = [2**28, 2**31 - 1, 2**32 - 1]
HOSTILE = {
    "a deep tuple as a key": b"}" + nested(200_000) + b"I1\ns.",
    "a deep tuple among keys": b"}(" + nested(200_000) + b"I1\nu.",
    "a deep tuple in a dict": b"(" + nested(200_000) + b"I1\nd.",
    "a deep tuple in a set": b"\x8f(" + nested(200_000) + b"\x90.",
    "a deep tuple in a frozenset": b"(" + nested(200_000) + b"\x91.",
    "a deep tuple": nested(200_000) + b".",
    "a deep list": b"]" * 200_000 + b"a" * 199_999 + b".",
    "many arrays": b"cnumpy.core.multiarray\n_reconstruct\n)R" * 20_000 + b".",
    "a deep codec": b"c_codecs\nencode\n(X\x01\x00\x00\x00a" + nested(200_000) + b"tR.",
    "a deep dtype": b"cnumpy\ndtype\n" + nested(200_000) + b"\x85R.",
    "shared pairs as a key": b"}" + shared(60) + b"I1\ns.",
    "shared pairs as a value": b"}I1\n" + shared(60) + b"s.",
    "shared pairs": shared(60) + b".",
    "shared pairs as a codec": b"c_codecs\nencode\n(X\x01\x00\x00\x00a" + shared(60) + b"tR.",
    "shared pairs as a shape": array(shared(60)) + b".",
    "a shape of huge numbers": array(b"(" + HUGE + b"q\x00" + b"h\x00" * 1999 + b"t") + b".",
    "a shape of many numbers": array(b"(" + b"M\xff\xff" * 100_000 + b"t") + b".",
    "a shape of negative numbers": array(b"(J\xff\xff\xff\xffJ\xff\xff\xff\xfft") + b".",
    "a huge number": HUGE + b".",
    "many copies of a string": b"(X" + struct.pack("<I", 2**20) + b"a" * 2**20 + b"q\x00"
    b"c_codecs\nencode\nq\x01" + b"h\x01(h\x00X\x06\x00\x00\x00latin1tR" * 1000 + b"l.",
    **{f"memo index {n}": b"Nr" + struct.pack("<I", n) + b"." for n in LIES},
    **{f"memo index {n} as text": b"Np%d\n." % n for n in LIES},
    **{f"string of {n}": b"X" + struct.pack("<I", n) + b"a." for n in LIES},
    **{f"bytes of {n}": b"\x8e" + struct.pack("<Q", n) + b"a." for n in (*LIES, 2**40)},
    **{f"bytearray of {n}": b"\x96" + struct.pack("<Q", n) + b"a." for n in (*LIES, 2**40)},
    **{f"frame of {n}": b"\x80\x04\x95" + struct.pack("<Q", n) + b"N." for n in (*LIES, 2**40)},
    "npy of a large shape": b"\x93NUMPY\x01\x00v\x00"
    + b"{'descr': '|u1', 'fortran_order': False, 'shape': (4294967296,), }".ljust(117)
    + b"\n",
    "npy of a large header": b"\x93NUMPY\x02\x00\xff\xff\xff\xff{",
    "npy of a deep header": b"\x93NUMPY\x01\x00\x10\x27" + b"(" * 10_000,
}


def sound_files(folder):
    """Write one small file of each kind that is read, and return {kind: (path, reader)}."""
    labels = {"clean_label": np.arange(10), "noisy_label": np.arange(10)[::-1].copy()}
    batch = {
        "data": np.arange(10 * 3072, dtype=np.uint8).reshape(10, 3072)[:2],
        "labels": [1, 2],
        "filenames": ["a.png", "b.png"],
    }
    found = {}
    for protocol in (0, 2, 5):
        path = found[f"batch, protocol {protocol}"] = folder / f"batch{protocol}"
        path.write_bytes(pickle.dumps(batch, protocol))
        path = found[f"labels, protocol {protocol}"] = folder / f"labels{protocol}"
        path.write_bytes(pickle.dumps(OrderedDict(labels), protocol))
    torch.save(labels, folder / "labels.pt")
    torch.save(labels, folder / "legacy.pt", _use_new_zipfile_serialization=False)
    np.save(folder / "labels.npy", np.array(labels))
    np.save(folder / "numbers.npy", np.arange(10))
    found |= {
        name: folder / name for name in ("labels.pt", "legacy.pt", "labels.npy", "numbers.npy")
    }
    return found


def mutate(content, rng):
    """Return the content with some bytes changed, left out, repeated or replaced by a length."""
    content = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(len(content)))
        size = int(rng.integers(1, 9))
        way = rng.integers(5)
        if way == 0:
            content[at] = rng.integers(256)
        elif way == 1:
            content[at] ^= 1 << rng.integers(8)
        elif way == 2:
            del content[at : at + size]
        elif way == 3:
            content[at:at] = content[at : at + size]
        else:
            content[at : at + 4] = struct.pack("<I", rng.choice([0, 2**28, 2**31 - 1, 2**32 - 1]))
    return bytes(content) or b"."


def read(path):
    """Read a file by the reader of its kind, and let go of what it holds."""
    if path.name.startswith("batch"):
        _read_batch(path, ["labels"], [10])
    else:
        load_cifar_n(path)


def check(name, path):
    """Read a file and print what it does that it may not."""
    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        read(path)
    except (pickle.UnpicklingError, ValueError) as error:
        if isinstance(error.__cause__, MemoryError):
            print(f"{name}: asks for more memory than there is", flush=True)
    except BaseException as error:
        print(f"{name}: {type(error).__name__}: {error}"[:200], flush=True)
    seconds = time.process_time() - start
    used = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    if seconds > SECONDS or used > BYTES:
        print(f"{name}: {seconds:.1f} s and {used / 2**20:.0f} MB", flush=True)


def main(folder):
    """Check the sound files, the hostile ones, and mutations of the sound ones."""
    sound = sound_files(folder)
    rng = np.random.default_rng(0)
    for name, path in sound.items():
        if name != "numbers.npy":  # of no labels, but read
            read(path)
    with open("/proc/self/statm") as file:
        in_use = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + 2 * BYTES,) * 2)
    events = set()
    sys.addaudithook(lambda event, _: events.add(event) if event in FORBIDDEN else None)
    for name, content in HOSTILE.items():
        (folder / "labels").write_bytes(content)
        check(name, folder / "labels")
    for name, path in sound.items():
        content = path.read_bytes()
        for i in range(N_MUTATIONS):
            path.write_bytes(mutate(content, rng))
            check(f"mutation {i} of {name}", path)
    for event in events:
        print(f"code was run: {event}")
    print("done")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
