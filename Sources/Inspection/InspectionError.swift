package import Models
package import Pack
package import Safetensors
package import Storage

/// Why something cannot be inspected.
package enum InspectionError: Error, Equatable {
  case source(SafetensorsError)
  case pack(PackError)
  /// There is no tensor of this name.
  case noTensor(String, path: String)
  /// The tensor's elements are of a type that has no floats.
  case notDecodable(tensor: String, type: String, path: String)
  /// What was to be written cannot be.
  case output(FileError)
  /// What is stored is none of what it should be.
  case model(ModelError)
  /// Stopped by a signal.
  case interrupted
}

extension InspectionError {
  /// What opening a model's files says.
  init(_ error: ModelError) {
    switch error {
    case .source(let error): self = .source(error)
    case .pack(let error): self = .pack(error)
    default: preconditionFailure("files are opened whatever model they are of: \(error)")
    }
  }
}
