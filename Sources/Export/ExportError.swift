package import Models
package import Pack
package import Storage
package import Tensors
package import Tokenizers

/// Why a pack cannot be exported.
package enum ExportError: Error {
  case model(ModelError)
  case pack(PackError)
  case tokenizer(TokenizerError)
  case output(FileError)
  /// The format cannot hold the pack.
  case refused(ExportRefusal, format: String)
  /// The working set does not fit the budget; both in bytes.
  case memory(needed: Int, limit: Int)
  /// The file system has too little room; both in bytes.
  case diskSpace(needed: Int, free: Int, path: String)
  /// Stopped by a signal.
  case interrupted
}

/// What a format cannot hold.
package enum ExportRefusal: Sendable, Equatable {
  /// An encoding that the format lacks; `instead` is the nearest that it has.
  case encoding(tensor: String, Encoding, instead: Encoding)
  /// Tensors that must be encoded alike and are not.
  case mixed(Mix)
  /// Something else than a routed expert is quantized.
  case quantized(tensor: String, Encoding)
  /// A matrix of a routed expert that the pack holds in several chunks, where the format turns it round as a whole.
  case cut(tensor: String)
  /// No routed expert is quantized.
  case nothingQuantized
  /// A part of a matrix that a device gets would not be whole groups; `fits` are the numbers of devices that would do.
  case tensorParallel(devices: Int, width: Int, Encoding, fits: [Int])
  /// Rows or columns that are no multiple of what the format packs together.
  case dimension(tensor: String, Int, multiple: Int)
  /// No engine that reads the format has this family of models, or it has it under another profile.
  case family(profile: String?)
  /// Tensors that the model does not use, which have no place; `of` says what they are.
  case otherParts(count: Int, of: String)
  /// Numbers that the format cannot hold, which are known only when they are looked at; the first tensor that has some.
  case values(tensor: String, Obstacle)
  /// Rows that are no whole blocks.
  case blocks(tensor: String, columns: Int, length: Int)
  /// Experts are not chosen for blocks of tokens together, which the format's engine expects.
  case noBlockRouting
  /// A file of the model that the format must hold.
  case missingFile(String)
  /// What describes the model is longer than readers take, in bytes.
  case manifest(byteCount: Int, limit: Int)
  /// A regular expression by which no engine cuts text.
  case preTokenizer(pattern: String?)

  package enum Obstacle: Sendable, Equatable {
    /// A magnitude that becomes an infinity in a type.
    case tooLarge(for: String)
    /// A code −8 under a negative scale, where scales are positive and 8 is no code.
    case negativeScale
  }

  package struct Mix: Sendable, Equatable {
    package let first: String
    package let firstType: StoredType
    package let other: String
    package let otherType: StoredType
    /// What must be alike: "all experts of a layer".
    package let scope: String
    package let instead: Encoding
  }
}
