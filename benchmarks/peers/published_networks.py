"""Classic networks as shapes, for comparing estimates with published measurements.

Each follows its paper; batch normalization is left out, because converters fold it away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgevision.graph.graph import Graph, Tensor
from edgevision.models.graph_net import GraphNet
from edgevision.models.net import Activation, Interpolation, Padding, Pair, PoolKind
from edgevision.models.registry import build_graph

CLASSES = 1000
VALID = Padding.VALID


class Writer:
    """Writes layers without naming each of them."""

    def __init__(self) -> None:
        self.net = GraphNet()
        self._count = 0

    def name(self) -> str:
        """Return a fresh name."""
        self._count += 1
        return f"layer_{self._count}"

    def image(self, side: int) -> Tensor:
        """Declare an RGB image."""
        return self.net.input((side, side, 3), name="image")

    def conv(
        self,
        x: Tensor,
        filters: int,
        kernel: Pair,
        stride: int = 1,
        padding: Padding = Padding.SAME,
    ) -> Tensor:
        """Convolve and apply ReLU."""
        x = self.net.conv(x, filters, kernel, stride=stride, padding=padding, name=self.name())
        return self.net.activation(x, Activation.RELU, name=self.name())

    def chain(self, x: Tensor, *steps: tuple[int, Pair]) -> Tensor:
        """Convolve several times."""
        for filters, kernel in steps:
            x = self.conv(x, filters, kernel)
        return x

    def pool(
        self,
        x: Tensor,
        size: int = 3,
        stride: int = 2,
        padding: Padding = VALID,
        mean: bool = False,
    ) -> Tensor:
        """Pool windows."""
        pool = self.net.avg_pool if mean else self.net.max_pool
        return pool(x, size, stride=stride, padding=padding, name=self.name())

    def join(self, *parts: Tensor) -> Tensor:
        """Concatenate channels."""
        return self.net.concat(parts, name=self.name())

    def add(self, *parts: Tensor) -> Tensor:
        """Add feature maps."""
        return self.net.add(parts, name=self.name())

    def classify(self, x: Tensor) -> Tensor:
        """Average, multiply and apply softmax."""
        x = self.net.global_pool(x, name=self.name(), kind=PoolKind.AVERAGE)
        return self.score(x)

    def score(self, x: Tensor) -> Tensor:
        """Multiply and apply softmax."""
        x = self.net.dense(x, CLASSES, name=self.name())
        return self.net.activation(x, Activation.SOFTMAX, name="scores")


def vgg(side: int, depths: Sequence[int]) -> Graph:
    """Simonyan and Zisserman 2014 (arXiv:1409.1556): 16 or 19 layers."""
    w = Writer()
    x = w.image(side)
    for depth, filters in zip(depths, (64, 128, 256, 512, 512), strict=True):
        x = w.chain(x, *[(filters, 3)] * depth)
        x = w.pool(x, 2, 2)
    x = w.net.flatten(x, name="flatten")
    for name in ("fc6", "fc7"):
        x = w.net.activation(w.net.dense(x, 4096, name=name), Activation.RELU, name=w.name())
    return w.net.build_graph("vgg", w.score(x))


def resnet(side: int, depths: Sequence[int]) -> Graph:
    """He et al. 2015 (arXiv:1512.03385), with bottlenecks: 50 or 152 layers."""
    w = Writer()
    x = w.pool(w.conv(w.image(side), 64, 7, 2), 3, 2, Padding.SAME)
    for stage, depth in enumerate(depths):
        width = 64 << stage
        for block in range(depth):
            stride = 2 if stage and not block else 1
            short = x
            if not block:
                short = w.net.conv(x, 4 * width, 1, stride=stride, name=w.name())
            y = w.conv(w.conv(x, width, 1, stride), width, 3)
            x = w.add(short, w.net.conv(y, 4 * width, 1, name=w.name()))
    return w.net.build_graph("resnet", w.classify(x))


def densenet(side: int) -> Graph:
    """Huang et al. 2016 (arXiv:1608.06993): DenseNet-121.

    Scale and offset before a ReLU can not be folded into the concatenation before them: each costs
    a multiplication and an addition.
    """
    w = Writer()

    def normalize(x: Tensor) -> Tensor:
        x = w.net.rescale(x, scale=0.5, offset=0.5, name=w.name())
        return w.net.activation(x, Activation.RELU, name=w.name())

    x = w.pool(w.conv(w.image(side), 64, 7, 2), 3, 2, Padding.SAME)
    for number, depth in enumerate((6, 12, 24, 16)):
        for _ in range(depth):
            x = w.join(x, w.conv(w.conv(normalize(x), 128, 1), 32, 3))
        if number < 3:
            channels = w.net.shape_of(x)[-1] // 2
            x = w.pool(w.conv(normalize(x), channels, 1), 2, 2, mean=True)
    return w.net.build_graph("densenet", w.classify(x))


def squeezenet(side: int) -> Graph:
    """Iandola et al. 2016 (arXiv:1602.07360), version 1.0."""
    w = Writer()
    x = w.pool(w.conv(w.image(side), 96, 7, 2, VALID))
    for number, squeeze in enumerate((16, 16, 32, 32, 48, 48, 64, 64), start=2):
        y = w.conv(x, squeeze, 1)
        x = w.join(w.conv(y, 4 * squeeze, 1), w.conv(y, 4 * squeeze, 3))
        if number in (4, 8):
            x = w.pool(x)
    x = w.net.global_pool(w.conv(x, CLASSES, 1), name="pool")
    return w.net.build_graph("squeezenet", x)


_INCEPTION_V1 = (
    (64, (96, 128), (16, 32), 32),
    (128, (128, 192), (32, 96), 64),
    (192, (96, 208), (16, 48), 64),
    (160, (112, 224), (24, 64), 64),
    (128, (128, 256), (24, 64), 64),
    (112, (144, 288), (32, 64), 64),
    (256, (160, 320), (32, 128), 128),
    (256, (160, 320), (32, 128), 128),
    (384, (192, 384), (48, 128), 128),
)


def inception_v1(side: int) -> Graph:
    """Szegedy et al. 2014 (arXiv:1409.4842); 3x3 in place of 5x5, as in TF-Slim."""
    w = Writer()
    same = Padding.SAME
    x = w.pool(w.conv(w.image(side), 64, 7, 2), 3, 2, same)
    x = w.pool(w.chain(x, (64, 1), (192, 3)), 3, 2, same)
    for number, (one, middle, wide, pooled) in enumerate(_INCEPTION_V1):
        x = w.join(
            w.conv(x, one, 1),
            w.chain(x, (middle[0], 1), (middle[1], 3)),
            w.chain(x, (wide[0], 1), (wide[1], 3)),
            w.conv(w.pool(x, 3, 1, same), pooled, 1),
        )
        if number in (1, 6):
            x = w.pool(x, 3, 2, same)
    return w.net.build_graph("inception_v1", w.classify(x))


def _reduce(w: Writer, x: Tensor, *branches: Sequence[tuple[int, Pair]]) -> Tensor:
    """Halve a map: convolutions whose last one has stride 2, beside a pool."""
    parts = [w.conv(w.chain(x, *b[:-1]), *b[-1], 2, VALID) for b in branches]
    return w.join(*parts, w.pool(x))


def inception_v4(side: int) -> Graph:
    """Szegedy et al. 2016 (arXiv:1602.07261), figure 9."""
    w = Writer()
    same = Padding.SAME
    x = w.conv(w.conv(w.conv(w.image(side), 32, 3, 2, VALID), 32, 3, 1, VALID), 64, 3)
    x = w.join(w.pool(x), w.conv(x, 96, 3, 2, VALID))
    long = w.chain(x, (64, 1), (64, (7, 1)), (64, (1, 7)))
    x = w.join(w.conv(w.conv(x, 64, 1), 96, 3, 1, VALID), w.conv(long, 96, 3, 1, VALID))
    x = w.join(w.conv(x, 192, 3, 2, VALID), w.pool(x))
    for _ in range(4):
        x = w.join(
            w.conv(w.pool(x, 3, 1, same, mean=True), 96, 1),
            w.conv(x, 96, 1),
            w.chain(x, (64, 1), (96, 3)),
            w.chain(x, (64, 1), (96, 3), (96, 3)),
        )
    x = _reduce(w, x, [(384, 3)], [(192, 1), (224, 3), (256, 3)])
    for _ in range(7):
        x = w.join(
            w.conv(w.pool(x, 3, 1, same, mean=True), 128, 1),
            w.conv(x, 384, 1),
            w.chain(x, (192, 1), (224, (1, 7)), (256, (7, 1))),
            w.chain(x, (192, 1), (192, (1, 7)), (224, (7, 1)), (224, (1, 7)), (256, (7, 1))),
        )
    x = _reduce(w, x, [(192, 1), (192, 3)], [(256, 1), (256, (1, 7)), (320, (7, 1)), (320, 3)])
    for _ in range(3):
        short, long = w.conv(x, 384, 1), w.chain(x, (384, 1), (448, (1, 3)), (512, (3, 1)))
        sides = [w.conv(y, 256, kernel) for y in (short, long) for kernel in ((1, 3), (3, 1))]
        pooled = w.conv(w.pool(x, 3, 1, same, mean=True), 256, 1)
        x = w.join(pooled, w.conv(x, 256, 1), *sides)
    return w.net.build_graph("inception_v4", w.classify(x))


def inception_resnet_v2(side: int) -> Graph:
    """Szegedy et al. 2016 (arXiv:1602.07261), as in TF-Slim."""
    w = Writer()

    def residual(x: Tensor, *branches: Sequence[tuple[int, Pair]]) -> Tensor:
        mixed = w.join(*(w.chain(x, *branch) for branch in branches))
        back = w.net.conv(mixed, w.net.shape_of(x)[-1], 1, name=w.name())
        return w.net.activation(w.add(x, back), Activation.RELU, name=w.name())

    x = w.conv(w.conv(w.conv(w.image(side), 32, 3, 2, VALID), 32, 3, 1, VALID), 64, 3)
    x = w.pool(w.conv(w.conv(w.pool(x), 80, 1, 1, VALID), 192, 3, 1, VALID))
    pooled = w.conv(w.pool(x, 3, 1, Padding.SAME, mean=True), 64, 1)
    x = w.join(
        w.conv(x, 96, 1),
        w.chain(x, (48, 1), (64, 5)),
        w.chain(x, (64, 1), (96, 3), (96, 3)),
        pooled,
    )
    for _ in range(10):
        x = residual(x, [(32, 1)], [(32, 1), (32, 3)], [(32, 1), (48, 3), (64, 3)])
    x = _reduce(w, x, [(384, 3)], [(256, 1), (256, 3), (384, 3)])
    for _ in range(20):
        x = residual(x, [(192, 1)], [(128, 1), (160, (1, 7)), (192, (7, 1))])
    x = _reduce(w, x, [(256, 1), (384, 3)], [(256, 1), (288, 3)], [(256, 1), (288, 3), (320, 3)])
    for _ in range(10):
        x = residual(x, [(192, 1)], [(192, 1), (224, (1, 3)), (256, (3, 1))])
    return w.net.build_graph("inception_resnet_v2", w.classify(w.conv(x, 1536, 1)))


def deeplab(side: int) -> Graph:
    """DeepLabv3 on MobileNetV2 (arXiv:1801.04381, section 6.3): output stride 16, 21 classes."""
    from edgevision.models.mobilenet_v2 import mobilenet_v2_backbone
    from edgevision.models.registry import configure

    w = Writer()
    config = configure("mobilenet_v2", input_size=side, output_stride=16)
    features = mobilenet_v2_backbone(w.net, w.image(side), config)
    # The backbone of the published model ends before the last convolution.
    x = features.last
    height, width, _ = w.net.shape_of(x)
    pooled = w.conv(w.net.global_pool(x, name="image_pool", keepdims=True), 256, 1)
    spread = w.net.resize(pooled, (height, width), name="spread")
    x = w.conv(w.join(spread, w.conv(x, 256, 1)), 256, 1)
    x = w.net.conv(x, 21, 1, name="logits")
    whole = w.net.resize(x, (side, side), name="enlarge", interpolation=Interpolation.BILINEAR)
    return w.net.build_graph("deeplab", whole)


def ssd_mobilenet_v2(side: int) -> Graph:
    """SSD on MobileNetV2 with 1x1 predictors, as in the quantized model of TensorFlow's zoo."""
    from edgevision.models.mobilenet_v2 import mobilenet_v2_backbone
    from edgevision.models.registry import configure
    from edgevision.models.ssd import SSD_V2, ssd_head

    w = Writer()
    config = configure("ssd_mobilenet_v2", input_size=side)
    features = mobilenet_v2_backbone(w.net, w.image(side), config)
    outputs = ssd_head(w.net, features, config, layout=SSD_V2._replace(kernel=1))
    return w.net.build_graph("ssd_mobilenet_v2", outputs)


def _zoo(name: str, side: int, classes: int | None = None) -> Callable[[], Graph]:
    return lambda: build_graph(name, input_size=side, num_classes=classes)


# Milliseconds with a USB accelerator on a desktop computer, from table 1 of
# https://coral.ai/docs/edgetpu/benchmarks/, with the input sizes that it states.
PUBLISHED: dict[str, tuple[float, Callable[[], Graph]]] = {
    "MobileNet v1": (2.4, _zoo("mobilenet_v1", 224)),
    "MobileNet v2": (2.6, _zoo("mobilenet_v2", 224)),
    "MobileNet v1 SSD": (6.5, _zoo("ssd_mobilenet_v1", 224)),
    "MobileNet v2 SSD": (7.2, lambda: ssd_mobilenet_v2(224)),
    "U-Net MobileNet v2": (3.3, _zoo("unet_mobilenet_v2", 128, 3)),
    "DeepLab v3": (52.0, lambda: deeplab(513)),
    "DenseNet-121": (20.0, lambda: densenet(224)),
    "Inception v1": (3.4, lambda: inception_v1(224)),
    "Inception v4": (85.0, lambda: inception_v4(299)),
    "Inception-ResNet v2": (57.0, lambda: inception_resnet_v2(299)),
    "ResNet-50 v1": (49.0, lambda: resnet(299, (3, 4, 6, 3))),
    "ResNet-50 v2": (50.0, lambda: resnet(299, (3, 4, 6, 3))),
    "ResNet-152 v2": (128.0, lambda: resnet(299, (3, 8, 36, 3))),
    "SqueezeNet": (2.1, lambda: squeezenet(224)),
    "VGG16": (296.0, lambda: vgg(224, (2, 2, 3, 3, 3))),
    "VGG19": (308.0, lambda: vgg(224, (2, 2, 4, 4, 4))),
}
