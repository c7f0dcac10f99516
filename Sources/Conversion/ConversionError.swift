package import Calibration
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
  /// There are no states to solve with.
  case states(StateError)
  /// What an expert was fed is not finite, or too large for its squares, in this column.
  case statesNotFinite(layer: Int, expert: Int, column: Int)
  /// The states are of another model: what differs.
  case otherModel(detail: String)
  /// Even the least levels are larger than the target; both as a target is written.
  case target(wanted: String, least: String)
  /// Nothing is quantized that could be quantized anew.
  case requantizesNothing(directory: String)
  /// There are states, but the recipe solves no routed expert with them.
  case statesWithoutUse
  /// No level of a target can hold a matrix, or none that the engine serves.
  case noLevel(tensor: String, engine: String?)
  /// A target that has nothing to choose, since rules decide everything.
  case targetWithoutUse
  /// An engine that could not serve any export of this family.
  case engineWithoutFamily(String, modelType: String)
  /// What rules say of a tensor, an engine could not serve: alone, or beside another with which it shares an encoding.
  case notServable(engine: String, tensor: String, beside: String?)
  /// A recipe that says the experts' encoding, which a target chooses.
  case targetWithExperts
  /// The working set does not fit the budget; both in bytes.
  case memory(needed: Int, limit: Int)
  /// The file system has too little room; both in bytes.
  case diskSpace(needed: Int, free: Int, path: String)
  /// A plan, a part or what a resumable run has kept.
  case part(PartError)
  /// Stopped by a signal.
  case interrupted
}
