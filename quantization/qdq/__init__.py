"""Quantized ONNX files: integers between QuantizeLinear and DequantizeLinear nodes."""
