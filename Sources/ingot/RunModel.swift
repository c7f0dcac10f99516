import Calibration
import Decoding
import Inspection
import Models
import Tokenizers
import Verification

/// A model opened to be run: weights, tokenizer, the ids that decoding needs.
struct RunModel {
  let path: String
  let weights: any WeightSource
  let model: TransformerModel
  let tokenizer: Tokenizer
  let isPack: Bool
  /// What `generation_config.json` says.
  let generation: GenerationConfiguration

  var configuration: ModelConfiguration { weights.configuration }

  /// Opens a pack or a checkpoint directory.
  ///
  /// - Parameters:
  ///   - companions: where config and tokenizer of a checkpoint lie; nil for beside the weights.
  ///   - asNumbers: whether codes that other tools packed are read as the numbers they stand for.
  ///   - cacheBudget: bytes of unpacked chunks to keep.
  ///   - checksChunks: whether each chunk of a pack is compared with its hashes before its first use.
  ///   - arithmetic: rounded weights are kept in half of the budget.
  init(
    path: String, companions: String? = nil, asNumbers: Bool = false, compute: Compute, cacheBudget: Int,
    checksChunks: Bool = false, arithmetic: WeightArithmetic = .fp32
  ) throws(Failure) {
    guard Machine.exists(path) else { throw Failure(noModel: path) }
    if CalibrationFile.isCalibration(path) { throw Failure(statesAsModel: path) }
    let kind = ModelFiles.Kind(of: path)
    if kind == .safetensors { throw Failure(notRunnable: path) }
    if checksChunks, kind != .pack { throw Failure(noHashes: path) }
    self.path = path
    isPack = kind == .pack
    do throws(ModelError) {
      let store = try ModelStore(ModelFiles(path: path, companions: companions), path: path, asNumbers: asNumbers)
      switch arithmetic {
      case .fp32: weights = StoredWeights(store, cacheBudget: cacheBudget, checksChunks: checksChunks)
      case .bf16Weights:
        weights = RoundedWeights(
          StoredWeights(store, cacheBudget: cacheBudget / 2, checksChunks: checksChunks),
          kernels: compute.kernels, cacheBudget: cacheBudget / 2)
      }
    } catch { throw Failure(error) }
    tokenizer = try Self.tokenizer(of: weights)
    do throws(ModelError) {
      generation = try GenerationConfiguration(
        json: try weights.file(named: GenerationConfiguration.fileName),
        vocabulary: weights.configuration.vocabularySize, path: "\(path)/\(GenerationConfiguration.fileName)")
    } catch { throw Failure(error) }
    do throws(ModelError) { model = try weights.architecture.makeModel(weights, compute: compute) } catch {
      throw Failure(error)
    }
  }

  private static func tokenizer(of weights: any WeightSource) throws(Failure) -> Tokenizer {
    var files: [TokenizerError.File: [UInt8]] = [:]
    do throws(ModelError) {
      for file in TokenizerError.File.allCases {
        files[file] = try weights.file(named: file.rawValue)
      }
    } catch { throw Failure(error) }
    // A pack does not carry empty files.
    if let empty = files.first(where: \.value.isEmpty)?.key {
      throw Failure(emptyFile: "\(weights.path)/\(empty.rawValue)")
    }
    guard let json = files[.tokenizer] else { throw Failure(noTokenizer: weights.path) }
    do throws(TokenizerError) { return try Tokenizer(tokenizerJSON: json, others: files) } catch {
      throw Failure(error, of: weights.path)
    }
  }

  /// `tokenizer.json` as it is stored.
  func tokenizerBytes() throws(Failure) -> [UInt8] {
    do throws(ModelError) { return try weights.file(named: "tokenizer.json") ?? [] } catch { throw Failure(error) }
  }

  /// Which model it is.
  func identity() throws(Failure) -> ModelIdentity {
    do throws(InspectionError) { return ModelIdentity(try InspectedModel(weights)) } catch { throw Failure(error) }
  }

  /// For `verify`.
  func compared() throws(Failure) -> ComparedModel {
    ComparedModel(
      path: path, weights: weights, model: model, tokenizer: tokenizer, tokenizerBytes: try tokenizerBytes())
  }

  /// The mask and what ends an answer: what tokenizer, config.json and generation_config.json name. The tokenizer decides; the
  /// configuration stands in where it names none, and must not contradict it: with a relative's tokenizer, prompts would be full
  /// of masks. A model that predicts the next token has no mask, whatever its tokenizer names.
  ///
  /// - Parameter stopsAtTurnEnd: whether the end of a turn ends an answer too, as for LLaDA2.2 and Ling.
  func specialTokens(stopsAtTurnEnd: Bool) throws(Failure) -> SpecialTokens {
    let mask = try mask
    let named = configuration.eosTokenIDs + generation.stops
    // The first fills the end of a last block: the tokenizer's end of text, where it names one.
    guard let eos = tokenizer.eosID ?? named.first ?? configuration.padTokenID else {
      throw Failure(.noSpecialToken(purpose: "end-of-text"), of: path)
    }
    let turnEnd = stopsAtTurnEnd ? tokenizer.roleEndID.map { [$0] } ?? [] : []
    var stops: [Int] = []
    for stop in [eos] + turnEnd + named where !stops.contains(stop) { stops.append(stop) }
    guard !stops.contains(mask) else { throw Failure(stopIsMask: mask, path: path) }
    return SpecialTokens(mask: mask, stops: stops)
  }

  private var mask: Int {
    get throws(Failure) {
      if configuration.conventions.prediction == .next { return SpecialTokens.noMask }
      guard let mask = tokenizer.maskID ?? configuration.maskTokenID else {
        throw Failure(.noSpecialToken(purpose: "mask"), of: path)
      }
      if let wanted = configuration.maskTokenID, wanted != mask {
        throw Failure(maskOfTokenizer: mask, ofConfiguration: wanted, path: path)
      }
      return mask
    }
  }

  /// What the tokenizer makes of a text.
  ///
  /// - Parameters:
  ///   - byteCount: of the text; one that is too long in any case is refused before it is encoded.
  ///   - source: what held the text.
  func ids(
    of byteCount: Int, from source: String, _ encode: (Tokenizer) throws(TokenizerError) -> [Int]
  ) throws(Failure) -> [Int] {
    let least = tokenizer.leastTokenCount(ofByteCount: byteCount)
    guard least <= configuration.maximumPositions else {
      throw Failure(tooLong: byteCount, leastTokens: least, positions: configuration.maximumPositions, source: source)
    }
    do throws(TokenizerError) { return try encode(tokenizer) } catch { throw Failure(error, of: path) }
  }

  /// ``Tokenizer/text(of:)``.
  func text(of tokens: some Sequence<Int>) -> [UInt8] { tokenizer.text(of: tokens) }
}

/// The rules by which a sequence is decoded, as typed.
enum DecoderName: String, CaseIterable {
  case llada20 = "2.0"
  case quality21 = "2.1-quality"
  case speed21 = "2.1-speed"
  case llada22 = "2.2"
  case next = "next-token"

  /// What the family of a model asks for.
  init(for weights: any WeightSource) {
    let name = weights.architecture.decoder(weights.configuration)
    guard let decoder = Self(rawValue: name) else {
      preconditionFailure("a family names no decoder that there is: \(name)")
    }
    self = decoder
  }

  /// Whether the end of a turn ends an answer.
  var stopsAtTurnEnd: Bool { self == .llada22 || self == .next }

  /// Whether it may replace what it has written.
  var edits: Bool { [.quality21, .speed21, .llada22].contains(self) }

  /// Its thresholds and limits, as its authors published them.
  func options(_ configuration: ModelConfiguration, path: String) throws(Failure) -> DecodingOptions {
    let predictsNext = configuration.conventions.prediction == .next
    guard (self == .next) == predictsNext else { throw Failure(decoder: self, ofModelThatPredictsNext: predictsNext) }
    switch self {
    case .llada20:
      var options = DecodingOptions()
      options.threshold = configuration.conventions.commitThreshold
      return options
    case .next: return .next
    case .quality21: return .quality21
    case .speed21: return .speed21
    case .llada22:
      guard let delete = configuration.deleteTokenID, let split = configuration.splitTokenID else {
        throw Failure(noControlTokens: path)
      }
      return .levenshtein22(.init(delete: delete, split: split))
    }
  }
}
