"""What a GPU does not tell is left out, and ends no run."""

from types import SimpleNamespace

import pytest

from deepseek_workloads.train.watch.hardware import nvml_figures


class NVMLError(Exception):
    pass


def gpu(*, refuses: set[str]) -> SimpleNamespace:
    """pynvml's functions, of which some raise what the bindings raise."""

    def answer(name: str, value: object) -> object:
        def call(_handle: object) -> object:
            if name in refuses:
                raise NVMLError(f"{name}: Not Supported")
            return value

        return call

    answers = {
        "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=50),
        "nvmlDeviceGetPowerUsage": 300_000,
    }
    return SimpleNamespace(
        NVMLError=NVMLError, **{name: answer(name, value) for name, value in answers.items()}
    )


@pytest.mark.parametrize(
    ("refuses", "figures"),
    [
        (set(), {"gpuUtilisation": 0.5, "gpuPowerWatts": 300.0}),
        ({"nvmlDeviceGetPowerUsage"}, {"gpuUtilisation": 0.5}),
        ({"nvmlDeviceGetUtilizationRates"}, {"gpuPowerWatts": 300.0}),
        ({"nvmlDeviceGetUtilizationRates", "nvmlDeviceGetPowerUsage"}, {}),
    ],
)
def test_figures_that_a_gpu_does_not_tell_are_left_out(refuses: set[str], figures: dict[str, float]) -> None:
    assert nvml_figures(gpu(refuses=refuses), object()) == figures
