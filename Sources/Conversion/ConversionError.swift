package import Models
package import Pack
package import Safetensors

/// Why a checkpoint cannot be turned into a pack.
package enum ConversionError: Error {
  case source(SafetensorsError)
  case model(ModelError)
  case recipe(RecipeError)
  case pack(PackError)
  /// An infinity or a NaN in a weight.
  case notFinite(tensor: String, row: Int, column: Int, path: String, byteOffset: Int)
  /// A weight so large that its group has no portable scale.
  case tooLarge(tensor: String, row: Int, column: Int, path: String, byteOffset: Int)
  /// The working set does not fit the budget; both in bytes.
  case memory(needed: Int, limit: Int)
  /// The file system has too little room; both in bytes.
  case diskSpace(needed: Int, free: Int, path: String)
  /// Stopped by a signal.
  case interrupted
}
