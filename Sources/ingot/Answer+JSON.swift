import JSON
import Kernels
import Models

extension Answer {
  /// `ingot.run/1` (Formats/run.md §1).
  func json(_ answering: Answering, decoder: DecoderName, compute: Compute) -> JSONValue {
    [
      "schema": "ingot.run/1",
      "model": .string(answering.model.path),
      "decoder": .string(decoder.rawValue),
      "text": .string(text),
      "tokens": .array(tokens.map { JSONValue($0) }),
      "prompt_tokens": .array(promptTokens.map { JSONValue($0) }),
      "stop_reason": .string(end.rawValue),
      "forwards": JSONValue(forwards),
      "cache_passes": cachePasses.map { JSONValue($0) } ?? .null,
      "tokens_per_forward": JSONValue(tokensPerForward),
      "seconds": JSONValue(seconds),
      "seconds_to_first_block": secondsToFirstBlock.map { JSONValue($0) } ?? .null,
      "tokens_per_second": JSONValue(tokensPerSecond),
      "bytes_read": JSONValue(weights.bytesRead),
      "expert_reads": JSONValue(weights.experts),
      "expert_hits": JSONValue(weights.hits),
      "kernels": .string(compute.kernels.name),
      "threads": JSONValue(compute.threads),
      "activations": .string(compute.activations.rawValue),
      "kv_cache_dtype": .string(compute.keyValues.rawValue),
      "int8_products": JSONValue(compute.int8ProductCount),
    ]
  }
}
