"""Options of staging: validated when made, and unchanged as plain data."""

import json

import numpy as np
import pytest

from GTRStagingLib.errors import InputError
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.options import METHODS, TARGETS, StagingOptions, parse_target


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"method": "occlusion"}, "Attention method 'occlusion'; expected one of auto, fine, gated, gradcam"),
        ({"alignment": "corner"}, "Alignment 'corner'; expected one of receptive_field, half_pixel"),
        *(
            ({"threshold": value}, f"Threshold {value}; expected a share")
            for value in (0, 1.01, 50, -0.5, np.nan, "0.5")
        ),
        ({"threshold": None}, "Threshold None; expected a share"),
        *(({"target": value}, f"Target {value!r}; expected a TStage") for value in ("T4", 3, 7)),
        *(
            ({name: "no"}, f"Option {name} is 'no'; expected True or False")
            for name in ("tta", "propose_key_slice", "neighbour_maps", "resample_roi")
        ),
        *(({"neighbour_mm": value}, f"Neighbouring slices at {value} mm") for value in (0, -1, np.nan, np.inf, "5")),
    ],
)
def test_invalid_options_are_refused(wrong, message):
    with pytest.raises(InputError) as refused:
        StagingOptions(**wrong)
    assert str(refused.value).startswith(message)


def test_options_are_plain_data_for_all_number_types():
    options = StagingOptions("layercam", TStage.T2, np.float32(0.25), "half_pixel", np.float64(6), False, True)
    assert json.loads(json.dumps(options.to_json())) == {
        "method": "layercam", "target": "T2", "threshold": 0.25, "alignment": "half_pixel", "neighbour_mm": 6.0,
        "neighbour_maps": False, "resample_roi": True, "tta": False, "propose_key_slice": False,
    }  # fmt: skip
    assert StagingOptions().to_json()["target"] is None


def test_the_choices_of_users_are_those_of_the_library():
    assert [parse_target(name) for name in TARGETS] == [None, *TStage]
    assert [StagingOptions(method=name).method for name in METHODS] == list(METHODS)
