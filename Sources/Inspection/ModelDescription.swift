package import JSON
package import Models

/// What a `config.json` says of the model, without asking that it be one we can run.
package struct ModelDescription: Sendable {
  /// The document; nil where there is none or it is no JSON object.
  package let config: JSONObject?
  /// Its bytes.
  let json: [UInt8]?
  /// Whether there is a file, but no JSON object in it.
  package let isUnreadable: Bool
  /// Why it is none of the architectures we know; nil if it is one.
  package let problem: ModelError?

  /// - Parameter bytes: of `config.json`; nil where there is none.
  package init(config bytes: [UInt8]?, path: String) {
    json = bytes
    guard let bytes else {
      config = nil
      isUnreadable = false
      problem = .configuration(key: nil, detail: "there is no config.json", path: path, byteOffset: nil)
      return
    }
    config = (try? unsafe JSONParser.parse(bytes.span.bytes, .settings))?.object
    isUnreadable = config == nil
    do throws(ModelError) {
      _ = try ModelConfiguration(json: bytes, path: path)
      problem = nil
    } catch { problem = error }
  }

  package var isSupported: Bool { problem == nil }
  package var modelType: String? { config?["model_type"]?.string }
  package var layerCount: Int? { int("num_hidden_layers") }
  /// As ``ModelConfiguration/furtherLayers``, of a configuration that may be refused.
  var furtherLayers: Range<Int> {
    guard let first = layerCount, (0...65536).contains(first), let count = int(ModelConfiguration.furtherLayersKey),
      ModelConfiguration.furtherLayerCounts.contains(count)
    else { return 0..<0 }
    return first..<first + count
  }
  package var denseLayerCount: Int? { int("first_k_dense_replace") }
  package var hiddenSize: Int? { int("hidden_size") }
  package var vocabularySize: Int? { int("vocab_size") }
  package var expertCount: Int? { int("num_experts") }
  package var expertsPerToken: Int? { int("num_experts_per_tok") }

  private func int(_ key: String) -> Int? { config?[key]?.int }
}
