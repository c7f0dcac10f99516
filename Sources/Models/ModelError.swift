package import Pack
package import Safetensors
package import Tensors

/// Why a checkpoint is not a model we can read.
package enum ModelError: Error, Sendable, Equatable {
  /// The checkpoint's files cannot be read.
  case source(SafetensorsError)
  /// The pack cannot be read.
  case pack(PackError)
  /// `config.json` is missing, is no JSON object, or a key has a value that does not fit.
  ///
  /// `byteOffset` is where the key stands in the file; nil for a key that is missing.
  case configuration(key: String?, detail: String, path: String, byteOffset: Int?)
  /// `config.json` says otherwise than the weights beside it do, in a key whose value no shape tells.
  case otherModel(key: String, detail: String, path: String)
  /// A tensor the architecture needs is not in the checkpoint.
  case missingTensor(String, directory: String)
  /// Tensors of the checkpoint that the architecture has no place for; the first few names and how many there are.
  case unknownTensors([String], count: Int, directory: String)
  /// A pattern that should leave tensors out matches none.
  case dropsNothing(pattern: String, directory: String)
  /// A pattern leaves out a tensor that the model needs.
  case dropsNeeded(String, pattern: String, directory: String)
  /// A tensor with another shape than the configuration asks for, or of a type we do not read.
  case badTensor(name: String, detail: String, path: String, byteOffset: Int)
  /// A matrix of codes with scales that no encoding of packs can hold as they are; as numbers they can be read.
  case notHeld(name: String, detail: String, path: String, byteOffset: Int)
  /// A group of codes that are packed already, and that no encoding of packs can hold as they are.
  case packedCode(tensor: String, row: Int, group: Int, detail: String, path: String)
  /// A tensor of a pack with another shape than the configuration asks for.
  case packedShape(name: String, found: Shape, expected: Shape, path: String)
  /// A tensor that is read when a model is opened, and decides how all others are used, holds an infinity or NaN at an element.
  case notFinite(name: String, element: Int, path: String)
  /// The experts of a layer lie in a way we do not know, or in two ways at once.
  case layout(layer: Int, detail: String, directory: String)
  /// Somebody asked to stop a pass.
  case interrupted
}
