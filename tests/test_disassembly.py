"""The hot loops as compiled: an accumulator that leaves its register inside a loop costs more than the multiply-add.

Reads the machine code of the installed kernels with objdump, where there is one. What must hold of every register
tile: it has innermost loops that multiply and add, and no vector goes to the stack and comes back in one of them; of
lines and planes, the innermost loop that multiplies and adds the most. A store that nothing reads is let pass: GCC 12
leaves one of the fourth step's factor, in 28 to 112 multiply-adds.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import skconv._engine as engine

FOLDER = Path(engine.__file__).parent
KERNELS = sorted(path.name for path in FOLDER.glob("_kernels_*") if "baseline" not in path.name)
MULTIPLY_ADD = re.compile(r"v?fn?m(add|sub)\w*\s|fmla\s")
JUMP = re.compile(r"(?:j\w+|b(?:\.\w+)?|cbn?z|tbn?z)\s+(?:\w+,\s*)*([0-9a-f]+)\b")
# AT&T syntax, the destination last. An address by the stack or frame pointer; Arm: [sp, #16].
SLOT = re.compile(r"-?(?:0x)?[0-9a-f]*\(%r[sb]p[^)]*\)|\[(?:sp|x29)[^]]*\]")
STORE = re.compile(r"v?mov\w+\s+%[xyz]mm\d+,\s*-?(?:0x)?[0-9a-f]*\(%r|st[rp]\s+q\d+,")
VECTOR = re.compile(r"%[xyz]mm\d+|\bq\d+|\bv\d+\.")


def read_functions(text):
    """Return {name: [(address, instruction)]} of a disassembly."""
    functions, current = {}, []
    for line in text.splitlines():
        begin = re.fullmatch(r"[0-9a-f]+ <(\S+)>:", line)
        if begin:
            current = functions.setdefault(begin[1], [])
        elif instruction := re.match(r"\s+([0-9a-f]+):\s+(.*)", line):
            current.append((int(instruction[1], 16), instruction[2]))
    return functions


def innermost_loops(function):
    """Yield the instructions of every loop of a function that holds no other loop."""
    places = {address: i for i, (address, _) in enumerate(function)}
    loops = []
    for i, (address, instruction) in enumerate(function):
        jump = JUMP.match(instruction)
        if jump and int(jump[1], 16) in places and int(jump[1], 16) <= address:
            loops.append((places[int(jump[1], 16)], i))
    for first, last in loops:
        if not any(first <= a and b <= last and (a, b) != (first, last) for a, b in loops):
            yield [instruction for _, instruction in function[first : last + 1]]


def hot_loops(function):
    """The innermost loops that multiply and add."""
    return [loop for loop in innermost_loops(function) if any(MULTIPLY_ADD.match(line) for line in loop)]


def n_multiply_adds(loop):
    return sum(MULTIPLY_ADD.match(line) is not None for line in loop)


def spills(loop):
    """The slots of the stack that a loop stores a vector in and reads one from."""
    stored, loaded = set(), set()
    for line in loop:
        slot = SLOT.search(line)
        if slot and VECTOR.search(line):
            (stored if STORE.match(line) else loaded).add(slot[0])
    return stored & loaded


EXAMPLE = """
0000000000001000 <skconv_tile_1x1>:
    1000:	vmovups %zmm1,0x40(%rsp)
    1004:	vfmadd231ps {factor},%zmm1,%zmm0
    1008:	{store}
    100c:	jne    1004 <skconv_tile_1x1+0x4>
    1010:	jmp    1000 <skconv_tile_1x1>

0000000000002000 <other>:
    2000:	ret
"""


@pytest.mark.parametrize(
    "factor, store, found",
    [
        ("(%rax)", "nop", set()),
        ("(%rax)", "vmovaps %zmm3,-0x8(%rbp)", set()),
        ("0x40(%rsp)", "vmovaps %zmm3,(%rax)", set()),  # stored outside the loop: a constant
        ("0x40(%rsp)", "vmovaps %zmm0,0x40(%rsp)", {"0x40(%rsp)"}),
        ("-0x8(%rbp){1to16}", "vmovups %ymm0,-0x8(%rbp)", {"-0x8(%rbp)"}),
        ("(%rax)", "vmovaps 0x8(%rsp),%zmm3", set()),
    ],
)
def test_what_is_read(factor, store, found):
    functions = read_functions(EXAMPLE.format(factor=factor, store=store))
    assert list(functions) == ["skconv_tile_1x1", "other"]
    (loop,) = hot_loops(functions["skconv_tile_1x1"])  # the outer one, with the store at 1000, is not the hot one
    assert len(loop) == 3
    assert spills(loop) == found
    assert hot_loops(functions["other"]) == []


@pytest.fixture(scope="module", params=KERNELS)
def kernels(request):
    """The name of a library of kernels, and its functions."""
    if shutil.which("objdump") is None:
        pytest.skip("objdump (binutils) is not installed")
    command = ["objdump", "--disassemble", "--no-show-raw-insn", str(FOLDER / request.param)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return request.param, read_functions(text)


def test_no_accumulator_is_spilled(kernels):
    _, functions = kernels
    tiles = {name: body for name, body in functions.items() if re.match(r"skconv_\w*tile_\d+x(\d+|half)", name)}
    assert len(tiles) > 20, "the tiles are gone from the table of symbols, or have other names"
    spilled = {}
    for tile, body in tiles.items():
        loops = hot_loops(body)
        assert loops, f"{tile} has no loop that multiplies and adds"
        if slots := set().union(*map(spills, loops)):
            spilled[tile] = slots
    assert not spilled, "vectors that leave their registers in a hot loop"


def test_lines_keep_their_sums(kernels):
    """Lines, planes and the weights' gradient by lines: in the loop with the most multiply-adds. One channel has none.

    Where sums and weights of a line take all 16 registers of AVX2, GCC 12 carries one sum from turn to turn on the
    stack: once in 36 to 98 multiply-adds.
    """
    library, functions = kernels
    pattern = r"skconv_((line|slope)_\d+x\d+|planes_(forward|back)_)"
    lines = {
        name: max(hot_loops(body), key=n_multiply_adds) for name, body in functions.items() if re.match(pattern, name)
    }
    assert len(lines) > 20, "the lines are gone from the table of symbols, or have other names"
    whole = [instruction for _, instruction in functions["skconv_channel_tile"]]
    assert n_multiply_adds(whole) >= 80 and not spills(whole)
    most = 1 if "avx2" in library else 0
    assert {name: slots for name, loop in lines.items() if len(slots := spills(loop)) > most} == {}
