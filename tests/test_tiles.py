"""The tiles of `tile.h`, `rows.h` and `winograd.h` and the pooling lines of `pool.h` against plain loops in C.

That is tiles.c, compiled anew. Elsewhere they are tested through the kernels that this machine runs. Here every
instruction set of this machine has its turn without Cython around it, and so has Arm's where its cross compiler and an
emulator are installed (Debian: gcc-aarch64-linux-gnu, qemu-user).
"""

import platform
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

import skconv._engine as engine

ROOT = Path(__file__).parents[1]
MESON = (ROOT / "skconv" / "_engine" / "meson.build").read_text(encoding="utf-8")
FLAGS = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-DSKCONV_KERNELS"]
VECTOR_BYTES = {"baseline": 16, "neon": 16, "avx2": 32, "avx512": 64}


def flags_of(isa):
    """What meson.build compiles an instruction set with."""
    found = re.search(rf"'{isa}': \[(.*?)\]", MESON)
    assert found, f"{isa} is not in skconv/_engine/meson.build"
    return [flag.strip(" '") for flag in found[1].split(",") if flag]


def run(compiler, flags, folder, emulator=(), headers=ROOT / "skconv" / "_engine"):
    """Build and run tiles.c; return what it says."""
    program = folder / "tiles"
    command = [compiler, "-std=c11", *FLAGS, *flags, f"-I{headers}"]
    command += [str(ROOT / "tests" / "tiles.c"), "-lm", "-o", str(program)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, f"{shlex.join(command)}\n{built.stderr}"
    done = subprocess.run([*emulator, str(program)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("precision", [[], ["-DSKCONV_DOUBLE"]], ids=["float32", "float64"])
@pytest.mark.parametrize("isa", engine.available_isas())
def test_on_this_machine(isa, precision, tmp_path):
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("needs GCC or Clang")
    said = run(compiler, [*flags_of(isa), *precision], tmp_path)
    found = re.fullmatch(r"(\d+) results agree, vectors of (\d+) bytes\n", said)
    assert int(found[1]) > 1_000_000
    assert int(found[2]) == VECTOR_BYTES[isa]


@pytest.mark.parametrize("precision", [[], ["-DSKCONV_DOUBLE"]], ids=["float32", "float64"])
def test_on_arm(precision, tmp_path):
    if platform.machine() == "aarch64":
        pytest.skip("this machine is one: test_on_this_machine")
    compiler, emulator = shutil.which("aarch64-linux-gnu-gcc"), shutil.which("qemu-aarch64")
    if compiler is None or emulator is None:
        pytest.skip("needs gcc-aarch64-linux-gnu and qemu-user")
    said = run(compiler, ["-static", *flags_of("neon"), *precision], tmp_path, [emulator])
    assert "vectors of 16 bytes" in said


@pytest.mark.parametrize(
    "header, right, wrong",
    [
        ("tile.h", "SKCONV_FMA(acc[m][v], x, bv[v])", "SKCONV_FMA(acc[m][v], x, bv[0])"),
        ("winograd.h", "o[3] = b + 8 * d", "o[3] = b + 4 * d"),
        ("winograd.h", "o[3] += m[5]", "o[2] += m[5]"),
        ("winograd.h", "(skconv_real)5.25 * (d[3] - d[5])", "(skconv_real)5.25 * (d[3] + d[5])"),
        ("winograd.h", "16 * g[0] + 4 * g[2] + g[4]", "16 * g[0] + 4 * g[2] - g[4]"),
        ("winograd.h", "o[6] = d[5] - d[4]", "o[6] = d[5] + d[4]"),
        ("winograd.h", "0.125 * f + m[kernel == 5 ? 7 : 6]", "0.125 * f + m[6]"),
        ("winograd.h", "o[5] = (d[5] - d[3]) - 4 * (d[3] - d[1])", "o[5] = t[5]"),
        ("winograd_lines.h", "(skconv_real)0.25 * s", "(skconv_real)0.5 * s"),
        ("winograd_lines.h", "first + q >= height", "first + q > height"),
        ("winograd_lines.h", "f < n_filters - SKCONV_LANES ? f :", "f < n_filters - SKCONV_LANES ? f - 1 :"),
        ("tile.h", "lines[f * line + j]", "lines[f * line]"),
        ("pool.h", "~(u <= best)", "~(u < best)"),
        (
            "rows.h",
            "skconv_all_finite(seen, next - seen, largest)",
            "skconv_all_finite(seen, next - seen - 1, largest)",
        ),
        ("rows.h", "n_pixels - (surplus + n_columns - 1) / n_columns;", "n_pixels;"),
        ("rows.h", "acc[m][v] += (a[m][C] - (VEC){0}) * bv[v]", "acc[m][v] += (a[m][C] - (VEC){0}) * bv[0]"),
    ],
)
def test_mistakes_are_found(header, right, wrong, tmp_path):
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("needs GCC or Clang")
    for path in (ROOT / "skconv" / "_engine").glob("*.h"):
        text = path.read_text(encoding="utf-8")
        if path.name == header:
            assert text.count(right) == 1, f"{header} has other words now; say here what to break"
            text = text.replace(right, wrong)
        (tmp_path / path.name).write_text(text, encoding="utf-8")
    with pytest.raises(AssertionError, match=r"element \d+ is"):
        run(compiler, [], tmp_path, headers=tmp_path)
