package import Models
package import Safetensors

/// Where the states of a model's layers come from: a file, or a pass that makes them.
package protocol StateSource {
  var document: CalibrationDocument { get }
  /// Bytes of memory that are held while the states of a layer are looked at.
  var heldByteCount: Int { get }
  /// Gives the states of each layer with experts, in order; `body` is done with them when it returns, and may return false to
  /// stop.
  func forEachLayer(_ body: (LayerStates) -> Bool) throws(StateError)
  /// Refuses what was read of a file that is no longer what it was when it was opened.
  func requireUnchanged() throws(StateError)
}

extension StateSource {
  package func requireUnchanged() throws(StateError) {}
}

/// Why there are no states.
package enum StateError: Error, Sendable, Equatable {
  case model(ModelError)
  /// The file cannot be read or written.
  case file(SafetensorsError)
  /// A safetensors file of something else.
  case otherFile(path: String)
  /// The file is not what `Formats/calibration.md` says.
  case broken(String, path: String)
  /// Another version of the format.
  case version(String, path: String)
  /// A state holds an infinity or a NaN.
  case notFinite(layer: Int, text: Int, position: Int)
  case interrupted
}
