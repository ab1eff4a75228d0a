"""Why a quantized network lost accuracy: which layer, what was measured there, and what helps."""
