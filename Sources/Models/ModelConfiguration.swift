import Glibc
import JSON

/// The numbers of a `config.json` that the runtime and the reader use. Names follow the file's keys.
package struct ModelConfiguration: Sendable, Equatable {
  package let modelType: String
  /// What the family does that no key says.
  package let conventions: Conventions
  package let vocabularySize: Int
  package let hiddenSize: Int
  /// Width of the dense MLP of the first layers.
  package let intermediateSize: Int
  package let layerCount: Int
  package let headCount: Int
  package let keyValueHeadCount: Int
  package let headDimension: Int
  package let expertCount: Int
  package let expertsPerToken: Int
  /// Width of one routed expert.
  package let expertIntermediateSize: Int
  package let sharedExpertCount: Int
  /// Width of all shared experts together; 0 where there are none.
  package let sharedIntermediateSize: Int
  /// Layer i is dense below this number, else a mixture of experts.
  package let firstDenseLayers: Int
  package let groupCount: Int
  package let topGroupCount: Int
  package let routedScalingFactor: Double
  package let rmsNormEpsilon: Double
  package let ropeTheta: Double
  package let partialRotaryFactor: Double
  package let maximumPositions: Int
  package let tiesWordEmbeddings: Bool
  package let usesQKVBias: Bool
  package let usesBias: Bool
  package let padTokenID: Int?
  /// What ends an answer; several where the key holds a list.
  package let eosTokenIDs: [Int]
  package let maskTokenID: Int?
  /// LLaDA2.2's control tokens: DELETE removes its position, SPLIT makes room for one.
  package let deleteTokenID: Int?
  package let splitTokenID: Int?
  /// LLaDA2.2's block routing: window in tokens and experts a window may use; nil for 2.0 and 2.1.
  package let blockRouting: BlockRouting?
  /// The numbers of layers after the model's own that predict further tokens from its last states, and are not run here.
  package private(set) var furtherLayers: Range<Int>
  package static let furtherLayersKey = "num_nextn_predict_layers"
  package static let furtherLayerCounts = 0...64
  /// Positions that are denoised together where nothing else is asked for.
  package let blockLength: Int

  package struct BlockRouting: Sendable, Equatable {
    package let blockSize: Int
    package let expertCapacity: Int
  }

  package func isMoE(layer: Int) -> Bool { layer >= firstDenseLayers }

  /// Channels of each head that RoPE turns.
  package var rotaryDimension: Int { Int(Double(headDimension) * partialRotaryFactor) }

  /// Radians a position of the pair of channels `index`.
  func rotaryFrequency(_ index: Int) -> Double { Glibc.pow(ropeTheta, -2 * Double(index) / Double(rotaryDimension)) }

  private static let size = 1...(1 << 24)

  /// Reads the bytes of a `config.json`.
  ///
  /// - Parameters:
  ///   - path: for messages.
  ///   - note: told what a person should know.
  /// - Throws: ``ModelError/configuration(key:detail:path:byteOffset:)``.
  package init(
    json bytes: [UInt8], path: String, note: (SourceNote) -> Void = { _ in }
  ) throws(ModelError) {
    let reader = try ConfigurationReader(bytes: bytes, path: path)
    modelType = try reader.readString("model_type")
    guard Architectures.modelTypes.contains(modelType) else {
      let known = Architectures.modelTypes.joined(separator: ", ")
      throw reader.error("model_type", "is \"\(modelType)\"; known are \(known)")
    }
    conventions = Architectures.conventions(of: modelType)
    vocabularySize = try reader.readInt("vocab_size", in: Self.size)
    hiddenSize = try reader.readInt("hidden_size", in: Self.size)
    intermediateSize = try reader.readInt("intermediate_size", in: Self.size)
    layerCount = try reader.readInt("num_hidden_layers", in: 1...4096)
    headCount = try reader.readInt("num_attention_heads", in: 1...4096)
    keyValueHeadCount = try reader.readInt("num_key_value_heads", in: 1...headCount)
    headDimension = try reader.readInt("head_dim", in: 1...65536, default: max(1, hiddenSize / headCount))
    expertCount = try reader.readInt("num_experts", in: 1...65535)
    expertsPerToken = try reader.readInt("num_experts_per_tok", in: 1...expertCount)
    expertIntermediateSize = try reader.readInt("moe_intermediate_size", in: Self.size)
    sharedExpertCount = try reader.readInt("num_shared_experts", in: 0...64, default: 0)
    let sharedWidth =
      reader.isOff("moe_shared_expert_intermediate_size")
      ? expertIntermediateSize : try reader.readInt("moe_shared_expert_intermediate_size", in: Self.size)
    sharedIntermediateSize = sharedWidth * sharedExpertCount
    if conventions.hasRoutingKeys {
      firstDenseLayers =
        try reader.isNull("first_k_dense_replace") ? 0 : reader.readInt("first_k_dense_replace", in: 0...layerCount)
      // Without groups all experts are one.
      let hasNoGroups = reader.object["n_group"] == .null || reader.object["n_group"] == .number("0")
      groupCount = hasNoGroups ? 1 : try reader.readInt("n_group", in: 1...expertCount)
      topGroupCount =
        hasNoGroups && reader.isOff("topk_group") ? 1 : try reader.readInt("topk_group", in: 1...groupCount)
      routedScalingFactor = try reader.readDouble("routed_scaling_factor")
    } else {
      (firstDenseLayers, groupCount, topGroupCount, routedScalingFactor) = (0, 1, 1, 1)
    }
    rmsNormEpsilon = try reader.readDouble("rms_norm_eps")
    let rotary = try RotaryConfiguration(reader, partialFactor: conventions.partialRotaryFactor, note: note)
    ropeTheta = rotary.theta
    partialRotaryFactor = rotary.partialFactor
    maximumPositions = try reader.readInt("max_position_embeddings", in: 1...(1 << 30))
    tiesWordEmbeddings = try reader.readBool("tie_word_embeddings", default: false)
    usesQKVBias = try reader.readBool("use_qkv_bias", default: false)
    usesBias = try reader.readBool("use_bias", default: false)
    padTokenID = try reader.readToken("pad_token_id", below: vocabularySize)
    eosTokenIDs = try reader.readTokens("eos_token_id", below: vocabularySize)
    maskTokenID = try reader.readToken("mask_token_id", below: vocabularySize)
    deleteTokenID = try reader.readToken("delete_token_id", below: vocabularySize)
    splitTokenID = try reader.readToken("split_token_id", below: vocabularySize)
    // The capacity makes it 2.2; a window alone means nothing.
    if conventions.hasRoutingKeys, !reader.isOff("expert_capacity") {
      blockRouting = BlockRouting(
        blockSize: try reader.readInt("block_size", in: 1...65536),
        expertCapacity: try reader.readInt("expert_capacity", in: expertsPerToken...expertCount))
    } else {
      blockRouting = nil
    }
    let furtherCount =
      conventions.prediction == .next
      ? try reader.readInt(Self.furtherLayersKey, in: Self.furtherLayerCounts, default: 0) : 0
    furtherLayers = layerCount..<layerCount + furtherCount
    let ownLength = conventions.blockLength
    blockLength =
      if let key = conventions.blockLengthKey { try reader.readInt(key, in: 1...65536, default: ownLength) } else {
        ownLength
      }

    guard headCount % keyValueHeadCount == 0 else {
      throw reader.error("num_key_value_heads", "\(keyValueHeadCount) does not divide \(headCount) attention heads")
    }
    guard expertCount % groupCount == 0 else {
      throw reader.error("n_group", "\(groupCount) does not divide \(expertCount) experts")
    }
    guard expertsPerToken <= topGroupCount * (expertCount / groupCount) else {
      throw reader.error("topk_group", "\(topGroupCount) groups hold fewer than \(expertsPerToken) experts")
    }
    guard partialRotaryFactor <= 1 else {
      throw reader.error("partial_rotary_factor", "is \(partialRotaryFactor), must be at most 1")
    }
    guard rotaryDimension >= 2, rotaryDimension % 2 == 0 else {
      throw reader.error("partial_rotary_factor", "gives \(rotaryDimension) of \(headDimension) channels, must be even")
    }
    for assumption in conventions.assumptions { try reader.expect(assumption.key, assumption.value) }
    for demand in conventions.demands { try reader.require(demand.key, demand.value) }
    try Self.requirePlainLayers(reader)
    _ = try QuantizationConfiguration(reader)
  }

  /// transformers 5 says of each layer how it attends; all layers of our models see the whole prefix.
  private static func requirePlainLayers(_ reader: ConfigurationReader) throws(ModelError) {
    guard !reader.isOff("layer_types") else { return }
    let types = reader.object["layer_types"]?.array ?? []
    guard types.isEmpty || types.contains(where: { $0 != "full_attention" }) else { return }
    let other = types.first { $0 != "full_attention" } ?? .null
    throw reader.error("layer_types", "holds \(other.text(indented: false)); only \"full_attention\" is supported")
  }
}

extension ModelConfiguration {
  /// Bytes of the keys and values of a position, in all layers.
  package func byteCount(of type: KeyValueType) -> Int {
    2 * type.byteCount * layerCount * keyValueHeadCount * headDimension
  }

  /// Whether both describe the same computation: layers that are not run do not count.
  package func computes(as other: ModelConfiguration) -> Bool {
    var own = self
    own.furtherLayers = other.furtherLayers
    return own == other
  }
}
