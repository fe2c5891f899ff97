"""Lines of tegrastats as JetPack 4 to 7 print them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccdeploy.machine.tegrastats import Line, parse

LINES = {
    "Nano, JetPack 4": (
        "RAM 1910/3964MB (lfb 3x2MB) SWAP 90/1982MB (cached 6MB) IRAM 0/252kB(lfb 252kB) CPU [5%@1224,off]"
        " EMC_FREQ 0%@1600 GR3D_FREQ 12%@76 APE 25 PLL@37C CPU@40C PMIC@50C GPU@40.5C AO@45C thermal@40C"
        " POM_5V_IN 1750/1628 POM_5V_GPU 0/0 POM_5V_CPU 366/406",
        Line({"POM_5V_IN": 1.75, "POM_5V_GPU": 0, "POM_5V_CPU": 0.366}, {"gpu": 40.5, "cpu": 40}, 76, 1600),
    ),
    "AGX Xavier, JetPack 4": (
        "RAM 1903/31928MB (lfb 1x4MB) CPU [2%@1190] EMC_FREQ 0%@665 GR3D_FREQ 0%@318 APE 150 MTS fg 0% bg 0%"
        " AO@36.5C GPU@37C Tdiode@40.75C PMIC@100C CPU@36.5C GPU 0/0 CPU 311/311 SOC 932/900 CV 0/0 VDDRQ 155/155"
        " SYS5V 1479/1479",
        Line(
            {"GPU": 0, "CPU": 0.311, "SOC": 0.932, "CV": 0, "VDDRQ": 0.155, "SYS5V": 1.479},
            {"gpu": 37, "cpu": 36.5},
            318,
            665,
        ),
    ),
    "AGX Orin, JetPack 5": (
        "RAM 4/30536MB (lfb 2x4MB) SWAP 0/15268MB (cached 0MB) CPU [0%@729] EMC_FREQ 1%@2133 GR3D_FREQ 0%@[611,1300]"
        " VIC_FREQ 729 APE 174 CPU@48.1C Tboard@37C GPU@-256C tj@48.1C VDD_GPU_SOC 3150mW/2971mW"
        " VDD_CPU_CV 14312mW/12415mW VIN_SYS_5V0 4968mW/5048mW",
        Line(
            {"VDD_GPU_SOC": 3.15, "VDD_CPU_CV": 14.312, "VIN_SYS_5V0": 4.968},
            {"cpu": 48.1, "gpu": -256, "tj": 48.1},
            1300,
            2133,
        ),
    ),
    "Orin Nano, JetPack 6, not root": (
        "11-27-2023 14:01:02 RAM 2462/7620MB (lfb 4x4MB) CPU [1%@729] GR3D_FREQ 0% cpu@46.9C soc2@45.7C gpu@45.2C"
        " VDD_IN 4012mW/4012mW VDD_CPU_GPU_CV 475mW/475mW VDD_SOC 1187mW/1187mW",
        Line({"VDD_IN": 4.012, "VDD_CPU_GPU_CV": 0.475, "VDD_SOC": 1.187}, {"cpu": 46.9, "gpu": 45.2}, None, None),
    ),
    "Thor, idle": ("GR3D_FREQ @0 VDD_GPU -392mW/-392mW VIN 23000mW/22000mW", Line({"VDD_GPU": -0.392, "VIN": 23}, {})),
}


@pytest.mark.parametrize("name", LINES)
def test_lines(name: str) -> None:
    text, expected = LINES[name]
    seen = parse(text)
    assert seen.rails_w == expected.rails_w
    assert expected.temperatures_c.items() <= seen.temperatures_c.items()
    assert (seen.gpu_mhz, seen.memory_mhz) == (expected.gpu_mhz, expected.memory_mhz)


@given(st.lists(st.sampled_from([*" @%[],/mWC0123456789-.", "VDD_IN ", "GR3D_FREQ ", "EMC_FREQ ", "GPU@", "é", "\0"])))
def test_garbage_never_raises(parts: list[str]) -> None:
    parse("".join(parts))
