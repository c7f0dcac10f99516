import Models

/// What a GGUF says of its model, the tokenizer apart.
enum GGUFMetadata {
  static func all(_ source: ExportSource, _ tensors: [OutputTensor<GGMLType>]) -> GGUFFile.Metadata {
    let profile = source.profile
    var bytes: [GGMLType: Int] = [:]
    for tensor in tensors { bytes[tensor.kind, default: 0] += tensor.byteCount }
    let most = bytes.max { ($0.value, $1.key.rawValue) < ($1.value, $0.key.rawValue) }?.key ?? .bf16
    let general: GGUFFile.Metadata = [
      ("general.architecture", .string(profile.architecture)), ("general.type", .string("model")),
      ("general.file_type", .uint32(most.fileType)), ("general.quantization_version", .uint32(2)),
    ]
    guard profile.isDescribed else { return general }
    return general + [("general.description", .string(description(source)))] + model(source, profile)
  }

  /// No key is agreed upon for the length of a block.
  private static func description(_ source: ExportSource) -> String {
    source.configuration.conventions.prediction == .next
      ? "A language model (\(source.configuration.modelType)) that predicts the next token."
      : "A block-diffusion language model (\(source.configuration.modelType)): blocks of 32 tokens are denoised together."
  }

  private static func model(_ source: ExportSource, _ profile: GGUFProfile) -> GGUFFile.Metadata {
    let c = source.configuration
    var keys: GGUFFile.Metadata = [
      ("vocab_size", .uint32(c.vocabularySize)), ("context_length", .uint32(c.maximumPositions)),
      ("embedding_length", .uint32(c.hiddenSize)), ("block_count", .uint32(c.layerCount)),
      ("feed_forward_length", .uint32(c.intermediateSize)),
      ("attention.head_count", .uint32(c.headCount)), ("attention.head_count_kv", .uint32(c.keyValueHeadCount)),
      ("attention.key_length", .uint32(c.headDimension)), ("attention.value_length", .uint32(c.headDimension)),
      ("attention.layer_norm_rms_epsilon", .float32(Float(c.rmsNormEpsilon))),
      ("rope.freq_base", .float32(Float(c.ropeTheta))), ("rope.dimension_count", .uint32(c.rotaryDimension)),
      ("rope.scaling.type", .string("none")),
      ("leading_dense_block_count", .uint32(c.firstDenseLayers)),
      ("expert_count", .uint32(c.expertCount)), ("expert_used_count", .uint32(c.expertsPerToken)),
      ("expert_shared_count", .uint32(c.sharedExpertCount)),
      ("expert_feed_forward_length", .uint32(c.expertIntermediateSize)),
      ("expert_shared_feed_forward_length", .uint32(c.sharedIntermediateSize)),
      ("expert_weights_scale", .float32(Float(c.routedScalingFactor))), ("expert_weights_norm", .bool(true)),
      ("expert_gating_func", .uint32(2)),  // a sigmoid
    ]
    if c.groupCount > 1 {
      keys += [
        ("expert_group_count", .uint32(c.groupCount)), ("expert_group_used_count", .uint32(c.topGroupCount)),
      ]
    }
    let own: GGUFFile.Metadata = keys.map { ("\(profile.architecture).\($0.key)", $0.value) }
    return own + (profile.isDiffusion ? [("diffusion.shift_logits", .bool(false))] : [])
  }
}
