"""Vision, speech and multimodal models of `transformers`, at tiny size."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tests.structure.graph.zoo.hf_text import SMALL, Example, build, tokens

VIT: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 8,
    "num_labels": 5,
}
ONE: dict[str, Any] = {**VIT, "num_hidden_layers": 1}
"""For networks that differ from `vit` inside a layer or before the first: `vit` itself has two."""
STAGES: dict[str, Any] = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 24, 32], "num_labels": 5}
LOGITS = "ForImageClassification"

# name -> (config class, model class, settings, image size)
IMAGE: dict[str, tuple[str, str, dict[str, Any], int]] = {
    "resnet": ("ResNetConfig", "ResNet" + LOGITS, {**STAGES, "embedding_size": 8}, 64),
    "regnet": (
        "RegNetConfig",
        "RegNet" + LOGITS,
        {**STAGES, "embedding_size": 8, "groups_width": 4},
        64,
    ),
    "convnext": ("ConvNextConfig", "ConvNext" + LOGITS, STAGES, 64),
    "convnextv2": ("ConvNextV2Config", "ConvNextV2" + LOGITS, STAGES, 64),
    "mobilenet_v1": (
        "MobileNetV1Config",
        "MobileNetV1" + LOGITS,
        {"depth_multiplier": 0.25, "num_labels": 5},
        64,
    ),
    "mobilenet_v2": (
        "MobileNetV2Config",
        "MobileNetV2" + LOGITS,
        {"depth_multiplier": 0.25, "num_labels": 5},
        64,
    ),
    "efficientnet": (
        "EfficientNetConfig",
        "EfficientNet" + LOGITS,
        {"width_coefficient": 0.25, "depth_coefficient": 0.3, "hidden_dim": 320, "num_labels": 5},
        64,
    ),
    "bit": ("BitConfig", "Bit" + LOGITS, {**STAGES, "embedding_size": 8, "num_groups": 4}, 64),
    "vit": ("ViTConfig", "ViT" + LOGITS, VIT, 32),
    "deit": ("DeiTConfig", "DeiT" + LOGITS, ONE, 32),
    "beit": ("BeitConfig", "Beit" + LOGITS, {**ONE, "use_relative_position_bias": True}, 32),
    "dinov2": ("Dinov2Config", "Dinov2" + LOGITS, ONE, 32),
    "swin": (
        "SwinConfig",
        "Swin" + LOGITS,
        {
            "image_size": 32,
            "patch_size": 2,
            "embed_dim": 16,
            "depths": [2, 2],
            "num_heads": [2, 4],
            "window_size": 4,
        },
        32,
    ),
    "swinv2": (
        "Swinv2Config",
        "Swinv2" + LOGITS,
        {
            "image_size": 32,
            "patch_size": 2,
            "embed_dim": 16,
            "depths": [2, 2],
            "num_heads": [2, 4],
            "window_size": 4,
        },
        32,
    ),
    "pvt": (
        "PvtConfig",
        "Pvt" + LOGITS,
        {
            "image_size": 64,
            "depths": [1, 1, 1, 1],
            "hidden_sizes": [16, 16, 32, 32],
            "num_attention_heads": [1, 2, 2, 4],
        },
        64,
    ),
    "pvt_v2": (
        "PvtV2Config",
        "PvtV2" + LOGITS,
        {
            "image_size": 64,
            "depths": [1, 1, 1, 1],
            "hidden_sizes": [16, 16, 32, 32],
            "num_attention_heads": [1, 2, 2, 4],
        },
        64,
    ),
    "cvt": (
        "CvtConfig",
        "Cvt" + LOGITS,
        {"embed_dim": [16, 32, 32], "num_heads": [1, 2, 4], "depth": [1, 2, 3]},
        64,
    ),
    "levit": (
        "LevitConfig",
        "Levit" + LOGITS,
        {
            "image_size": 64,
            "hidden_sizes": [32, 48, 64],
            "num_attention_heads": [2, 3, 4],
            "depths": [1, 1, 1],
            "key_dim": [8, 8, 8],
        },
        64,
    ),
    "segformer": (
        "SegformerConfig",
        "Segformer" + LOGITS,
        {
            "depths": [1, 1, 1, 1],
            "hidden_sizes": [16, 16, 32, 32],
            "num_attention_heads": [1, 2, 2, 4],
            "decoder_hidden_size": 32,
        },
        64,
    ),
    "mobilevit": (
        "MobileViTConfig",
        "MobileViT" + LOGITS,
        {
            "image_size": 64,
            "hidden_sizes": [16, 24, 32],
            "neck_hidden_sizes": [8, 8, 16, 16, 24, 24, 32],
            "num_attention_heads": 2,
        },
        64,
    ),
    "mobilevitv2": (
        "MobileViTV2Config",
        "MobileViTV2" + LOGITS,
        {"image_size": 64, "width_multiplier": 0.25, "n_attn_blocks": [1, 1, 1]},
        64,
    ),
    "poolformer": ("PoolFormerConfig", "PoolFormer" + LOGITS, STAGES, 64),
    "focalnet": (
        "FocalNetConfig",
        "FocalNet" + LOGITS,
        {
            "image_size": 32,
            "patch_size": 2,
            "embed_dim": 16,
            "depths": [1, 1],
            "focal_levels": [2, 2],
            "focal_windows": [3, 3],
        },
        32,
    ),
    "swiftformer": (
        "SwiftFormerConfig",
        "SwiftFormer" + LOGITS,
        {"image_size": 64, "depths": [1, 1, 1, 1], "embed_dims": [8, 16, 24, 32]},
        64,
    ),
    "dinov2_registers": ("Dinov2WithRegistersConfig", "Dinov2WithRegisters" + LOGITS, ONE, 32),
    "hiera": (
        "HieraConfig",
        "Hiera" + LOGITS,
        {
            "image_size": [32, 32],
            "embed_dim": 8,
            "depths": [1, 1],
            "num_heads": [1, 2],
            "patch_size": [3, 3],
            "patch_stride": [2, 2],
            "patch_padding": [1, 1],
            "masked_unit_size": [4, 4],
            "query_stride": [2, 2],
            "num_query_pool": 1,
        },
        32,
    ),
    "dpt": (
        "DPTConfig",
        "DPTForDepthEstimation",
        {
            **VIT,
            "image_size": 32,
            "num_hidden_layers": 4,
            "backbone_out_indices": [0, 1, 2, 3],
            "neck_hidden_sizes": [8, 8, 16, 16],
            "fusion_hidden_size": 16,
        },
        32,
    ),
    "yolos": (
        "YolosConfig",
        "YolosForObjectDetection",
        {**VIT, "image_size": [32, 32], "num_detection_tokens": 6},
        32,
    ),
    "vitmsn": ("ViTMSNConfig", "ViTMSN" + LOGITS, ONE, 32),
    "ijepa": ("IJepaConfig", "IJepa" + LOGITS, ONE, 32),
    "segformer_segmentation": (
        "SegformerConfig",
        "SegformerForSemanticSegmentation",
        {
            "depths": [1, 1, 1, 1],
            "hidden_sizes": [16, 16, 32, 32],
            "num_attention_heads": [1, 2, 2, 4],
            "decoder_hidden_size": 32,
        },
        64,
    ),
}


def pixels(size: int, channels: int = 3) -> torch.Tensor:
    """[2, channels, size, size] of fixed pseudo-random pixels."""
    return torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(0))


def image(name: str) -> tuple[nn.Module, Example]:
    """An image model with its example."""
    config, model, settings, size = IMAGE[name]
    return build((config, model, settings)), ((), {"pixel_values": pixels(size)})


def clip() -> tuple[nn.Module, Example]:
    """Two towers and a similarity."""
    text = {**SMALL, "eos_token_id": 95, "bos_token_id": 94}
    vision = {k: v for k, v in VIT.items() if k != "num_labels"}
    settings = {"text_config": text, "vision_config": vision, "projection_dim": 16}
    example = {"input_ids": tokens(), "pixel_values": pixels(32)}
    return build(("CLIPConfig", "CLIPModel", settings)), ((), example)


def detr() -> tuple[nn.Module, Example]:
    """A convolutional backbone, a transformer, object queries."""
    import transformers

    backbone = transformers.ResNetConfig(
        depths=[1, 1, 1, 1], hidden_sizes=[8, 16, 24, 32], embedding_size=8, out_features=["stage4"]
    )
    settings = {
        "use_timm_backbone": False,
        "use_pretrained_backbone": False,
        "backbone": None,
        "backbone_config": backbone,
        "d_model": 32,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "num_queries": 6,
    }
    example = {"pixel_values": pixels(64), "pixel_mask": torch.ones(2, 64, 64, dtype=torch.long)}
    return build(("DetrConfig", "DetrForObjectDetection", settings)), ((), example)


def whisper() -> tuple[nn.Module, Example]:
    """Speech to text."""
    settings = {
        "d_model": 32,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "vocab_size": 96,
        "num_mel_bins": 8,
        "max_source_positions": 16,
        "max_target_positions": 16,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "decoder_start_token_id": 1,
    }
    sound = torch.randn(2, 8, 32, generator=torch.Generator().manual_seed(0))
    example = {"input_features": sound, "decoder_input_ids": tokens(6)}
    return build(("WhisperConfig", "WhisperForConditionalGeneration", settings)), ((), example)


def wav2vec2() -> tuple[nn.Module, Example]:
    """Speech features with a weight-normed positional convolution."""
    settings = {
        **SMALL,
        "conv_dim": [16, 16],
        "conv_stride": [4, 2],
        "conv_kernel": [8, 4],
        "num_feat_extract_layers": 2,
        "num_conv_pos_embeddings": 8,
        "num_conv_pos_embedding_groups": 4,
        "classifier_proj_size": 16,
        "num_labels": 5,
    }
    sound = torch.randn(2, 400, generator=torch.Generator().manual_seed(0))
    return build(("Wav2Vec2Config", "Wav2Vec2ForSequenceClassification", settings)), (
        (),
        {"input_values": sound},
    )
