package import Safetensors

/// Something about a model's files that a person should know although it stops nothing.
package enum SourceNote: Sendable, Equatable {
  /// The index states another sum of bytes than the shards have.
  case totalSize(Checkpoint.WrongTotalSize)
  /// An adapter lies beside the weights; it is not merged.
  case adapter([String])
  /// Files beside the weights that nothing reads: other forms of them, the state of a training.
  case leftAlone([String])
  /// What prepares images or sound lies beside the weights; only text is handled.
  case processors([String])
  /// Two keys of `config.json` say the same thing differently; the first has priority.
  case contradiction(used: String, unused: String, value: String)
  /// The embedding is the head, too: there is no tensor of its own, which would have this name.
  case tiedHead(name: String)
  /// Rotary frequencies among the tensors, which `config.json` gives already.
  case rotaryBuffers(count: Int)
  /// Tensors of FP8, which are read as the bf16 that they and their scales stand for.
  case fp8(count: Int)
  /// Matrices of int4 or int8, which are taken as they are.
  case packed(count: Int)
  /// The same, taken as the numbers that they stand for.
  case packedAsNumbers(count: Int)
  /// Tensors of parts that nothing here runs, which are kept as they are.
  case passedThrough(count: Int, byteCount: Int, of: String)

  /// The notes on the files of a checkpoint.
  package static func files(of checkpoint: Checkpoint) -> [SourceNote] {
    (checkpoint.wrongTotalSize.map { [.totalSize($0)] } ?? []) + files(beside: checkpoint)
  }

  /// What lies beside the weights of a checkpoint and is not taken along.
  private static func files(beside checkpoint: Checkpoint) -> [SourceNote] {
    let own = Set(checkpoint.files.map(\.name))
    // Where only config and tokenizer are taken from, weights are those of another form.
    guard !checkpoint.isGGUF || !own.isDisjoint(with: checkpoint.fileNames) else { return [] }
    let others = checkpoint.fileNames.filter { !own.contains($0) }.sorted()
    let adapters = others.filter(isAdapter)
    let processors = others.filter(processorNames.contains)
    let leftAlone = others.filter { !isAdapter($0) && isLeftAlone($0) }
    return (adapters.isEmpty ? [] : [.adapter(adapters)]) + (leftAlone.isEmpty ? [] : [.leftAlone(leftAlone)])
      + (processors.isEmpty ? [] : [.processors(processors)])
  }

  private static let processorNames: Set = [
    "preprocessor_config.json", "processor_config.json", "image_processor_config.json",
    "video_preprocessor_config.json", "feature_extractor_config.json",
  ]

  private static let weightSuffixes = [".safetensors", ".bin", ".pt", ".pth"]

  private static func isAdapter(_ name: String) -> Bool {
    let lower = name.lowercased()
    return lower.hasSuffix(".lora") || name == "adapter_config.json"
      || weightSuffixes.contains(where: lower.hasSuffix) && (lower.hasPrefix("adapter_") || lower.contains("lora"))
  }

  /// Other files of weights, shards that the index does not name among them, and what trainers write.
  private static func isLeftAlone(_ name: String) -> Bool {
    let starts = [
      "consolidated", "optimizer", "scheduler", "rng_state", "global_step", "trainer_state", "pytorch_model",
    ]
    return name == "original" || starts.contains(where: name.hasPrefix)
      || (weightSuffixes + [".ckpt", ".gguf"]).contains(where: name.hasSuffix)
  }
}
