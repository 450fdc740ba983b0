"""DeepSeek-V3: multi-head latent attention and a sigmoid-gated mixture of experts, on one device.

Names and shapes are those of Hugging Face's `DeepseekV3ForCausalLM`. How the model is spread over ranks is
`train.parallelise`' business, how it is stored `export`'s.

Letters of shapes: B sequences, T tokens of a sequence, N = B*T tokens, H hidden size, V vocabulary,
A attention heads, D features of a query or key, R features of a latent, E routed experts, K experts a token,
I features between an expert's two products.
"""
