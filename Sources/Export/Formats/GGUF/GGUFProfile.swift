import Models

/// The names and keys by which an engine knows a model in a GGUF.
package struct GGUFProfile: Sendable, Equatable {
  /// As `--profile` names it.
  package let name: String
  /// Who reads it.
  package let engines: String
  /// `general.architecture`, which the keys of the model begin with.
  let architecture: String
  let dialect: NameDialect
  /// Whether the file describes the model and its tokenizer; else both are known to the engine.
  let isDescribed: Bool
  /// Whether it tells that tokens are denoised in blocks.
  let isDiffusion: Bool

  package static let llada2 = GGUFProfile(
    name: "llada2", engines: "nurllama (plain and Q8_0), the branch of llama.cpp that is to bring LLaDA2",
    architecture: "llada2", dialect: .ggml, isDescribed: true, isDiffusion: true)
  package static let bailingMoE2 = GGUFProfile(
    name: "bailingmoe2", engines: "llama.cpp for Ling, and to check the weights of LLaDA2, which it reads causally",
    architecture: "bailingmoe2", dialect: .ggml, isDescribed: true, isDiffusion: false)
  package static let lladaImage = GGUFProfile(
    name: "llada-image", engines: "stable-diffusion.cpp and nodes of ComfyUI, as text encoder of LLaDA-Image",
    architecture: "lumina2", dialect: .image, isDescribed: false, isDiffusion: false)

  package static let all = [llada2, bailingMoE2, lladaImage]

  /// The one of a model where a person names none.
  static func standard(for configuration: ModelConfiguration) -> GGUFProfile {
    configuration.conventions.prediction == .next ? bailingMoE2 : llada2
  }

  package static func named(_ name: String) -> GGUFProfile? { all.first { $0.name == name } }
}

extension ExportSource {
  /// What was asked for, or goes with the model.
  var profile: GGUFProfile { options.profile ?? .standard(for: configuration) }
}
