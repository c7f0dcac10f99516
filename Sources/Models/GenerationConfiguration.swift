package import JSON

/// What a `generation_config.json` says of how a model is to be decoded.
package struct GenerationConfiguration: Sendable, Equatable {
  package static let fileName = "generation_config.json"

  /// What ends an answer, beside what the tokenizer and `config.json` say.
  package let stops: [Int]
  /// All else that would change an answer, as it is written: keys that decoding does not take from here.
  package let requests: [Request]

  package struct Request: Sendable, Equatable {
    package let key: String
    package let value: JSONValue
  }

  /// - Parameters:
  ///   - bytes: of the file; nil or none where there is none.
  ///   - path: for messages.
  /// - Throws: ``ModelError/configuration(key:detail:path:byteOffset:)``.
  package init(json bytes: [UInt8]?, vocabulary: Int, path: String) throws(ModelError) {
    guard let bytes, !bytes.isEmpty else {
      stops = []
      requests = []
      return
    }
    let reader = try ConfigurationReader(bytes: bytes, path: path)
    stops = try reader.readTokens("eos_token_id", below: vocabulary)
    // Without `do_sample` nothing is drawn, whatever the others say.
    let draws = reader.object["do_sample"]?.bool ?? false
    requests = reader.object.members.filter { member in
      !Self.silent.contains(member.key) && !reader.isOff(member.key) && (draws || !Self.ofDraws.contains(member.key))
    }.map { Request(key: $0.key, value: $0.value) }
  }

  /// Read elsewhere, or of no consequence for an answer.
  private static let silent: Set<String> = [
    "eos_token_id", "bos_token_id", "pad_token_id", "decoder_start_token_id", "mask_token_id", "transformers_version",
    "_from_model_config", "use_cache", "cache_implementation", "return_dict_in_generate", "output_attentions",
    "output_hidden_states", "output_scores", "output_logits",
  ]
  private static let ofDraws: Set<String> = ["do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p"]
}
