import Drift
package import Models
import Inspection
import Pack
package import Tokenizers

/// A model that is open, with the tokenizer that goes with it.
package struct ComparedModel {
  /// As a person gave it.
  package let path: String
  package let weights: any WeightSource
  package let model: TransformerModel
  package let tokenizer: Tokenizer
  /// XXH3 of `tokenizer.json` as it is stored.
  package let tokenizerHash: UInt64

  package var configuration: ModelConfiguration { weights.configuration }

  /// - Parameter tokenizerBytes: `tokenizer.json` as it is stored.
  package init(
    path: String, weights: any WeightSource, model: TransformerModel, tokenizer: Tokenizer, tokenizerBytes: [UInt8]
  ) {
    self.path = path
    self.weights = weights
    self.model = model
    self.tokenizer = tokenizer
    tokenizerHash = unsafe XXH3.hash(tokenizerBytes.span.bytes)
  }

  /// Bytes of text that tokens stand for; special tokens are none. A row of the vocabulary without a token is U+FFFD.
  func text(of tokens: some Sequence<Int>) -> [UInt8] {
    tokens.flatMap { (try? tokenizer.bytes(of: [$0], skippingSpecial: true)) ?? [0xEF, 0xBF, 0xBD] }
  }

  /// What the tokenizer makes of a text.
  ///
  /// - Parameters:
  ///   - byteCount: of the text; one that is too long in any case is refused before it is encoded.
  ///   - place: what held the text.
  func ids(
    of byteCount: Int, from place: String, _ encode: (Tokenizer) throws(TokenizerError) -> [Int]
  ) throws(VerificationError) -> [Int] {
    let least = tokenizer.leastTokenCount(ofByteCount: byteCount)
    guard least <= configuration.maximumPositions else {
      throw .tooLong(
        byteCount: byteCount, leastTokens: least, positions: configuration.maximumPositions, place: place)
    }
    do throws(TokenizerError) { return try encode(tokenizer) } catch { throw .tokenizer(error, path: path) }
  }
}

extension DriftRecord.Model {
  /// Which model it is.
  init(_ model: ComparedModel) throws(VerificationError) {
    let identity: ModelIdentity
    do throws(InspectionError) { identity = ModelIdentity(try InspectedModel(model.weights)) } catch {
      throw .inspection(error)
    }
    self.init(
      path: identity.path, kind: identity.kind == .pack ? "pack" : "checkpoint", hash: identity.hash,
      byteCount: identity.byteCount, bitsPerWeight: identity.bitsPerWeight, experts: identity.experts,
      tokenizerHash: model.tokenizerHash, sizes: DriftRecord.Sizes(model.configuration),
      computation: DriftRecord.Computation(model.configuration))
  }
}

extension DriftReport.Model {
  /// - Parameters:
  ///   - path: in place of its own, as `kind`: of a record that stands for the model.
  ///   - running: which says how it computes; nil where nothing ran.
  ///   - isLossless: of a candidate whose weights were compared.
  init(
    _ model: DriftRecord.Model, path: String? = nil, kind: String? = nil, running: ComparedModel?,
    isLossless: Bool? = nil
  ) {
    let activations = running?.model.compute.activations ?? .fp32
    let arithmetic = running?.weights.arithmetic ?? .fp32
    self.init(
      path: path ?? model.path, kind: kind ?? model.kind, hash: XXH3.text(model.hash), bytes: model.byteCount,
      bitsPerWeight: model.bitsPerWeight, experts: model.experts, activations: activations.rawValue,
      arithmetic: arithmetic.rawValue, kvCacheDtype: (running?.model.compute.keyValues ?? .fp32).rawValue,
      lossless: isLossless)
  }
}
