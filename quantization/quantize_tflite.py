"""From a float ``.tflite`` to an integer one: the file around what the pipeline makes."""

from __future__ import annotations

from dataclasses import dataclass

from edgevision.errors import CalibrationError
from edgevision.graph.contracts import attach_contract
from edgevision.outputs import atomic_path
from edgevision.quantization.accuracy import Accuracy
from edgevision.quantization.agreement import check_collapse
from edgevision.quantization.data_free.pipeline import quantize_without_images
from edgevision.quantization.diagnosis.diagnosis import Diagnosis, diagnose_networks
from edgevision.quantization.edgetpu import check_edgetpu
from edgevision.quantization.gate import AccuracyMeter, check_drop
from edgevision.quantization.images import CalibrationImages
from edgevision.quantization.pipeline import Options, Quantized, prepare_model, quantize_model
from edgevision.quantization.request import Request
from edgevision.quantization.result import QuantizationResult, build_result
from edgevision.quantization.search import Found, search_target
from edgevision.quantization.source import FloatModel, open_source
from edgevision.quantization.unsigned import make_unsigned
from edgevision.specs import Scheme


def quantize_tflite(request: Request) -> QuantizationResult:
    """Quantize a float ``.tflite``.

    Raises:
        InvalidModelError: The model is damaged, or quantized already.
        UnsupportedOpError: The model can not be quantized.
        CalibrationError: An activation is NaN or infinite, or images are needed and not given.
        QualityGateError: The target can not be reached, or a detector or segmenter collapsed; no
            file is written.
    """
    options = request.options
    source = open_source(request.model, request.contract)
    images = request.open_images(
        source.contract, source.graph, otherwise=", or the Keras model with --batch-norm"
    )
    meter = None if request.data is None else AccuracyMeter(source.path, request.data)
    packer = _Packer(source=source, unsigned=request.unsigned, meter=meter)
    found = _make(source, images, request, packer=packer)
    quantized = found.quantized
    if request.target.min_agreement is None:
        check_collapse(source.contract.task, quantized.agreement)
    diagnosis = _diagnose(quantized, images, options) if request.diagnose else None
    packed = packer.pack(quantized)
    placement = check_edgetpu(packed) if options.row.scheme is Scheme.EDGETPU else ()
    with atomic_path(request.output) as place:
        place.write_bytes(packed)
    return build_result(
        request,
        quantized,
        source.contract,
        images=images,
        warnings=placement,
        accuracy=found.accuracy,
        search=found.report,
        diagnosis=diagnosis,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Packer:
    """Makes files of quantized networks, and measures them."""

    source: FloatModel
    unsigned: bool
    meter: AccuracyMeter | None

    def pack(self, quantized: Quantized) -> bytes:
        """Return the whole file, with ending and contract."""
        data = self.source.finish(quantized.model)
        return attach_contract(make_unsigned(data) if self.unsigned else data, self.source.contract)

    def measure(self, quantized: Quantized) -> Accuracy | None:
        """Return the accuracy on labelled images, where there are any."""
        return self.meter.measure(self.pack(quantized)) if self.meter else None


def _make(
    source: FloatModel, images: CalibrationImages | None, request: Request, *, packer: _Packer
) -> Found:
    """Quantize, and search where a target is set."""
    options, target = request.options, request.target
    if images is not None and target.is_set:
        prepared = prepare_model(source, images, options)
        return search_target(prepared, target, packer.measure, keeps_outputs=packer.unsigned)
    if options.batch_norm is None:
        quantized = quantize_model(source, images, options)
    else:
        quantized = quantize_without_images(source, options.batch_norm, options)
    accuracy = packer.measure(quantized)
    if accuracy is not None and target.max_drop is not None:
        check_drop(accuracy, target.max_drop)
    return Found(quantized=quantized, accuracy=accuracy, report=None)


def _diagnose(
    quantized: Quantized, images: CalibrationImages | None, options: Options
) -> Diagnosis:
    """Measure every layer against the float network that was quantized at last."""
    if images is None:
        raise CalibrationError(
            "a diagnosis needs calibration images",
            remedy="name a folder of typical photos with --calibration",
        )
    return diagnose_networks(
        (quantized.reference, quantized.model),
        images.kept,
        threads=options.threads,
        progress=options.progress,
    )
