"""Networks: backbones, heads, surgery, conversion."""
