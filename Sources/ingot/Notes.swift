import Decoding
import JSON
import Models
import Safetensors
import Text

// What a person should know although it stops nothing.

extension Console {
  /// Each on a line of its own.
  static func notes(_ notes: [String]) { for note in notes { Console.note("note: \(Shown.text(note, limit: 4000))") } }
}

extension SourceNote {
  /// A sentence, without a period at its end.
  var text: String {
    switch self {
    case .totalSize(let wrong):
      "`total_size` in `\(wrong.path)`, byte \(Format.count(wrong.byteOffset)), is \(wrong.stated), but the tensors have "
        + "\(Format.count(wrong.found)) bytes; nothing goes by that number, and all else in the index agrees"
    case .adapter(let files):
      "an adapter lies beside the weights (\(Self.list(files))); it is not merged, so this is the model without it"
    case .leftAlone(let files):
      "beside the weights lie files that nothing reads (\(Self.list(files))): other forms of them, or the state of a training"
    case .processors(let files):
      "the checkpoint prepares images or sound (\(Self.list(files))); only its text model is used"
    case .contradiction(let used, let unused, let value):
      "config.json says `\(unused)` \(value), but `\(used)` has priority and says otherwise"
    case .tiedHead(let name): "the model has no `\(name)`: its embedding is the head, too (`tie_word_embeddings`)"
    case .rotaryBuffers(let count):
      count == 1
        ? "one tensor holds rotary frequencies (`\(TensorNames.rotaryBuffer)`); they are what config.json gives, and are left out"
        : "\(Format.count(count)) tensors hold rotary frequencies (`\(TensorNames.rotaryBuffer)`); they are what config.json gives, and "
          + "are left out"
    case .fp8(let count):
      "\(Format.count(count)) tensor\(count == 1 ? " is" : "s are") FP8: each number times its scale, rounded to bf16, is the weight"
    case .packed(let count):
      "\(Format.count(count)) matri\(count == 1 ? "x is" : "ces are") quantized already: codes and scales are taken as they are"
    case .packedAsNumbers(let count):
      "\(Format.count(count)) matri\(count == 1 ? "x is" : "ces are") quantized already: the numbers that their codes stand for are "
        + "taken; where these are quantized anew, errors add up; outside of experts, what is kept is rounded to bf16"
    case .passedThrough(let count, let byteCount, let parts):
      "\(Format.count(count)) tensor\(count == 1 ? "" : "s"), \(Format.bytes(byteCount)), of \(parts): "
        + "kept as they are, and used by nothing here"
    }
  }

  /// The first ones by name, and how many more there are.
  static func list(_ names: [String]) -> String {
    let shown = names.prefix(names.count > 8 ? 6 : 8).map { "`\($0)`" }.joined(separator: ", ")
    return shown + (names.count > 8 ? " and \(Format.count(names.count - 6)) more" : "")
  }
}

extension RunModel {
  /// What a person should know of the model and of how it is going to be decoded.
  func notes(_ options: DecodingOptions) -> [String] {
    let runs: [String: JSONValue] = [
      "do_sample": .bool(options.temperature > 0), "temperature": JSONValue(options.temperature),
      "top_k": options.topK.map { JSONValue($0) } ?? .null,
      "top_p": options.topP.map { JSONValue($0) } ?? .null, "max_new_tokens": JSONValue(options.generationLength),
      "gen_length": JSONValue(options.generationLength), "block_length": JSONValue(options.blockLength),
      "steps": JSONValue(options.steps), "threshold": JSONValue(options.threshold),
    ]
    let requests = generation.requests.filter { request in
      guard let own = runs[request.key] else { return true }
      return own != request.value && (own.double == nil || own.double != request.value.double)
    }
    guard !requests.isEmpty else { return weights.notes.map(\.text) }
    let asked = requests.map { "`\($0.key)` \($0.value.text(indented: false))" }.joined(separator: ", ")
    return weights.notes.map(\.text) + [
      "\(GenerationConfiguration.fileName) asks for \(asked); of that file only the stop tokens are used, all else is said "
        + "on the command line"
    ]
  }
}
