"""Random weights in real files for llama.cpp: what they say means nothing, but the server really runs them."""
import string
from pathlib import Path

import gguf
import numpy

WIDTH = 64
HEADS = 2
RANDOM_SEED = 0
CONTROL = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']


class Weights:
    """The tensors of one file, drawn from one seeded generator."""

    def __init__(self, path: Path, architecture: str):
        self.writer = gguf.GGUFWriter(str(path), architecture)
        self._random = numpy.random.default_rng(RANDOM_SEED)

    def normal(self, name: str, *shape: int, scale: float = 1.0) -> None:
        fan_in = numpy.prod(shape[1:])
        values = self._random.standard_normal(shape) * scale / numpy.sqrt(fan_in)
        self.writer.add_tensor(name, values.astype(numpy.float32))

    def zeros(self, *names: str, size: int = WIDTH) -> None:
        for name in names:
            self.writer.add_tensor(name, numpy.zeros(size, numpy.float32))

    def layer_norm(self, *names: str) -> None:
        for name in names:
            self.writer.add_tensor(f'{name}.weight', numpy.ones(WIDTH, numpy.float32))
            self.zeros(f'{name}.bias')

    def linear(self, name: str, outputs: int = WIDTH, inputs: int = WIDTH) -> None:
        self.normal(f'{name}.weight', outputs, inputs)
        self.zeros(f'{name}.bias', size=outputs)

    def save(self) -> None:
        self.writer.write_header_to_file()
        self.writer.write_kv_data_to_file()
        self.writer.write_tensors_to_file()
        self.writer.close()


def write_ranker(path: Path, *, layers: int = 2, context: int = 512) -> Path:
    """A BERT cross-encoder whose vocabulary is single characters: /v1/rerank without a download."""
    weights = Weights(path, 'bert')
    writer = weights.writer
    writer.add_name('random-ranker')
    writer.add_context_length(context)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(4 * WIDTH)
    writer.add_block_count(layers)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.RANK)
    words = _write_vocabulary(writer)
    weights.normal('token_embd.weight', words, WIDTH, scale=8)
    weights.normal('position_embd.weight', context, WIDTH)
    weights.normal('token_types.weight', 2, WIDTH)
    weights.layer_norm('token_embd_norm')
    for layer in range(layers):
        _write_bert_layer(weights, f'blk.{layer}.')
    weights.linear('cls')
    weights.normal('cls.output.weight', 1, WIDTH, scale=3)
    weights.zeros('cls.output.bias', size=1)
    weights.save()
    return path


def _write_bert_layer(weights: Weights, prefix: str) -> None:
    for name in ('attn_q', 'attn_k', 'attn_v', 'attn_output'):
        weights.linear(prefix + name)
    weights.linear(prefix + 'ffn_up', outputs=4 * WIDTH)
    weights.linear(prefix + 'ffn_down', inputs=4 * WIDTH)
    weights.layer_norm(prefix + 'attn_output_norm', prefix + 'layer_output_norm')


def _write_vocabulary(writer: gguf.GGUFWriter) -> int:
    characters = string.ascii_lowercase + string.digits + string.punctuation
    tokens = [*CONTROL, *('\u2581' + character for character in characters), *characters]
    kinds = [gguf.TokenType.CONTROL] * len(CONTROL) + [gguf.TokenType.NORMAL] * (2 * len(characters))
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model('bert')
    writer.add_tokenizer_pre('jina-v2-en')
    writer.add_token_list([token.encode() for token in tokens])
    writer.add_token_types(kinds)
    writer.add_token_type_count(2)
    ids = {token: number for number, token in enumerate(CONTROL)}
    writer.add_pad_token_id(ids['[PAD]'])
    writer.add_unk_token_id(ids['[UNK]'])
    writer.add_bos_token_id(ids['[CLS]'])
    writer.add_eos_token_id(ids['[SEP]'])
    writer.add_sep_token_id(ids['[SEP]'])
    writer.add_mask_token_id(ids['[MASK]'])
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(True)
    return len(tokens)


def write_projector(path: Path, *, text_width: int, image_size: int = 64, patch: int = 8) -> Path:
    """A vision projector (Gemma 3's layout): a chat model of `text_width` then decodes images, and sees nothing."""
    weights = Weights(path, 'clip')
    writer = weights.writer
    writer.add_type('mmproj')
    writer.add_name('random-projector')
    writer.add_bool('clip.has_vision_encoder', True)
    writer.add_string('clip.projector_type', 'gemma3')
    writer.add_bool('clip.use_gelu', True)
    sizes = {'image_size': image_size, 'patch_size': patch, 'embedding_length': WIDTH, 'feed_forward_length': 2 * WIDTH,
             'block_count': 1, 'projection_dim': text_width, 'attention.head_count': HEADS, 'projector.scale_factor': 4}
    for name, size in sizes.items():
        writer.add_uint32(f'clip.vision.{name}', size)
    writer.add_float32('clip.vision.attention.layer_norm_epsilon', 1e-6)
    writer.add_array('clip.vision.image_mean', [0.5] * 3)
    writer.add_array('clip.vision.image_std', [0.5] * 3)
    weights.normal('v.patch_embd.weight', WIDTH, 3, patch, patch)
    weights.zeros('v.patch_embd.bias')
    weights.normal('v.position_embd.weight', (image_size // patch) ** 2, WIDTH)
    _write_vision_layer(weights, 'v.blk.0.')
    weights.layer_norm('v.post_ln')
    weights.normal('mm.input_projection.weight', WIDTH, text_width, scale=0.05)
    writer.add_tensor('mm.soft_emb_norm.weight', numpy.ones(WIDTH, numpy.float32))
    weights.save()
    return path


def _write_vision_layer(weights: Weights, prefix: str) -> None:
    for name in ('attn_q', 'attn_k', 'attn_v', 'attn_out'):
        weights.linear(prefix + name)
    weights.layer_norm(prefix + 'ln1', prefix + 'ln2')
    weights.linear(prefix + 'ffn_up', outputs=2 * WIDTH)
    weights.linear(prefix + 'ffn_down', inputs=2 * WIDTH)
