package import Journals
package import Models
package import Safetensors

/// Where the states of a model's layers come from: a file, or a pass that makes them.
package protocol StateSource {
  var document: CalibrationDocument { get }
  /// Bytes of memory that are held while the states of a layer are looked at.
  var heldByteCount: Int { get }
  /// Gives the states of some layers with experts, in order; `body` is done with them when it returns, and may return false to
  /// stop.
  func forEachLayer(in layers: Range<Int>, _ body: (LayerStates) -> Bool) throws(StateError)
  /// Refuses what was read of a file that is no longer what it was when it was opened.
  func requireUnchanged() throws(StateError)
}

extension StateSource {
  package func requireUnchanged() throws(StateError) {}

  /// The same of all layers.
  package func forEachLayer(_ body: (LayerStates) -> Bool) throws(StateError) {
    try forEachLayer(in: document.layers, body)
  }
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
  case journal(JournalError)
  /// A part of a file of states, which serves only to be merged.
  case part(path: String)
  /// No part.
  case noPart(path: String)
  /// A part that does not belong to the others.
  case otherPart(String, path: String)
  /// Numbers of parts that are not there, of how many.
  case missingParts([Int], of: Int)
  /// The disk has not as many bytes as the file, and what is kept beside it, will take.
  case noRoom(needed: Int, free: Int, path: String)
  case interrupted
}
