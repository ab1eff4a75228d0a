"""The first reading of a network: Keras layers, to be trained and converted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgevision.backends import import_backend
from edgevision.models.net import Activation, Interpolation, Margins, Padding, Pair, PoolKind


class KerasNet:
    """Builds a functional Keras 3 model from the primitives of ``Net``.

    The batch stays open for training; converters fix it.

    Raises:
        BackendUnavailableError: TensorFlow, which brings Keras 3, is not installed.
    """

    def __init__(self) -> None:
        # TensorFlow first: without it Keras's own message names no remedy.
        import_backend("tensorflow")
        self._keras = import_backend("keras")
        self._layers = self._keras.layers
        self._inputs: list[Any] = []

    def build_model(self, name: str, outputs: Any | Mapping[str, Any]) -> Any:
        """Close the network: everything between the declared inputs and ``outputs``."""
        inputs = self._inputs[0] if len(self._inputs) == 1 else self._inputs
        return self._keras.Model(inputs, outputs, name=name)

    def shape_of(self, x: Any) -> tuple[int, ...]:
        """Return the shape without the batch."""
        return tuple(x.shape[1:])

    def input(self, shape: tuple[int, ...], *, name: str) -> Any:
        """Declare an input with an open batch."""
        tensor = self._keras.Input(shape, name=name, dtype="float32")
        self._inputs.append(tensor)
        return tensor

    def conv(
        self,
        x: Any,
        filters: int,
        kernel: Pair,
        *,
        name: str,
        stride: Pair = 1,
        dilation: Pair = 1,
        padding: Padding = Padding.SAME,
        groups: int = 1,
        use_bias: bool = True,
    ) -> Any:
        """Add a ``Conv2D``."""
        return self._layers.Conv2D(
            filters,
            kernel,
            strides=stride,
            dilation_rate=dilation,
            padding=padding.value,
            groups=groups,
            use_bias=use_bias,
            name=name,
        )(x)

    def depthwise_conv(
        self,
        x: Any,
        kernel: Pair,
        *,
        name: str,
        stride: Pair = 1,
        dilation: Pair = 1,
        padding: Padding = Padding.SAME,
        multiplier: int = 1,
        use_bias: bool = True,
    ) -> Any:
        """Add a ``DepthwiseConv2D``."""
        return self._layers.DepthwiseConv2D(
            kernel,
            strides=stride,
            dilation_rate=dilation,
            padding=padding.value,
            depth_multiplier=multiplier,
            use_bias=use_bias,
            name=name,
        )(x)

    def transpose_conv(
        self,
        x: Any,
        filters: int,
        kernel: Pair,
        *,
        name: str,
        stride: Pair = 2,
        padding: Padding = Padding.SAME,
        use_bias: bool = True,
    ) -> Any:
        """Add a ``Conv2DTranspose``."""
        return self._layers.Conv2DTranspose(
            filters, kernel, strides=stride, padding=padding.value, use_bias=use_bias, name=name
        )(x)

    def conv_each(
        self, maps: Sequence[Any], filters: int, kernel: Pair, *, name: str, use_bias: bool = True
    ) -> list[Any]:
        """Add one ``Conv2D`` and call it on every map."""
        layer = self._layers.Conv2D(
            filters, kernel, padding=Padding.SAME.value, use_bias=use_bias, name=name
        )
        return [layer(x) for x in maps]

    def depthwise_conv_each(
        self, maps: Sequence[Any], kernel: Pair, *, name: str, use_bias: bool = True
    ) -> list[Any]:
        """Add one ``DepthwiseConv2D`` and call it on every map."""
        layer = self._layers.DepthwiseConv2D(
            kernel, padding=Padding.SAME.value, use_bias=use_bias, name=name
        )
        return [layer(x) for x in maps]

    def batch_norm(
        self, x: Any, *, name: str, momentum: float = 0.99, epsilon: float = 1e-3
    ) -> Any:
        """Add a ``BatchNormalization``."""
        return self._layers.BatchNormalization(momentum=momentum, epsilon=epsilon, name=name)(x)

    def activation(self, x: Any, function: Activation, *, name: str) -> Any:
        """Add the layer that TFLite fuses or has a kernel for; ``linear`` adds nothing."""
        if function is Activation.LINEAR:
            return x
        return self._layers.Activation(function.value, name=name)(x)

    def zero_pad(self, x: Any, margins: Margins, *, name: str) -> Any:
        """Add a ``ZeroPadding2D``."""
        return self._layers.ZeroPadding2D(margins, name=name)(x)

    def global_pool(
        self, x: Any, *, name: str, kind: PoolKind = PoolKind.AVERAGE, keepdims: bool = False
    ) -> Any:
        """Add a global pooling layer."""
        layers = {
            PoolKind.AVERAGE: self._layers.GlobalAveragePooling2D,
            PoolKind.MAX: self._layers.GlobalMaxPooling2D,
        }
        return layers[kind](keepdims=keepdims, name=name)(x)

    def max_pool(
        self, x: Any, size: Pair, *, name: str, stride: Pair, padding: Padding = Padding.VALID
    ) -> Any:
        """Add a ``MaxPooling2D``."""
        layer = self._layers.MaxPooling2D(size, strides=stride, padding=padding.value, name=name)
        return layer(x)

    def avg_pool(
        self, x: Any, size: Pair, *, name: str, stride: Pair, padding: Padding = Padding.VALID
    ) -> Any:
        """Add an ``AveragePooling2D``."""
        layer = self._layers.AveragePooling2D
        return layer(size, strides=stride, padding=padding.value, name=name)(x)

    def dense(self, x: Any, units: int, *, name: str, use_bias: bool = True) -> Any:
        """Add a ``Dense``."""
        return self._layers.Dense(units, use_bias=use_bias, name=name)(x)

    def dropout(self, x: Any, rate: float, *, name: str) -> Any:
        """Add a ``Dropout``."""
        return self._layers.Dropout(rate, name=name)(x)

    def add(self, values: Sequence[Any], *, name: str) -> Any:
        """Add an ``Add``."""
        return self._layers.Add(name=name)(list(values))

    def multiply(self, values: Sequence[Any], *, name: str) -> Any:
        """Add a ``Multiply``."""
        return self._layers.Multiply(name=name)(list(values))

    def concat(self, values: Sequence[Any], *, name: str, axis: int = -1) -> Any:
        """Add a ``Concatenate``."""
        return self._layers.Concatenate(axis=axis, name=name)(list(values))

    def resize(
        self,
        x: Any,
        size: tuple[int, int],
        *,
        name: str,
        interpolation: Interpolation = Interpolation.BILINEAR,
    ) -> Any:
        """Add a ``Resizing``."""
        return self._layers.Resizing(*size, interpolation=interpolation.value, name=name)(x)

    def reshape(self, x: Any, shape: tuple[int, ...], *, name: str) -> Any:
        """Add a ``Reshape``."""
        return self._layers.Reshape(shape, name=name)(x)

    def flatten(self, x: Any, *, name: str) -> Any:
        """Add a ``Flatten``."""
        return self._layers.Flatten(name=name)(x)

    def rescale(self, x: Any, *, name: str, scale: float, offset: float = 0.0) -> Any:
        """Add a ``Rescaling``."""
        return self._layers.Rescaling(scale, offset=offset, name=name)(x)
