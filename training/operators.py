"""Names of operators that onnxruntime has beside the standard's."""

DOMAIN = "com.microsoft"
ATTENTION = "MultiHeadAttention"
INTEGER_PRODUCT = "MatMulIntegerToFloat"
