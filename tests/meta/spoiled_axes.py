"""Which axis of each worked example of shapes a wrong edit lets run backwards."""

# Model -> an input or output, and the axis of it.
BACKWARDS = {
    "static_1": ("image", 3),  # left is right
    "static_2": ("output", 0),  # each sample in the other's slot
    "voice_activity": ("output_1", 1),  # the new state of another sample
    "detector": ("output_0", 0),  # boxes in another order than their scores
    "sequence_first": ("output_0", 0),
    "images_by_texts": ("output", 1),
    "step_of_a_decoder": ("past_key", 1),
    "decoder_with_cache": ("past_key", 1),
    "streaming_voice": ("stateN", 1),  # the state of another sample
    "graph_network": ("edges", 0),  # from where to where
}
