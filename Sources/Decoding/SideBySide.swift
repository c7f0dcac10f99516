/// Work of one kind on many sequences side by side, whose passes go through the model together.
package protocol SideBySide {
  associatedtype Output

  /// Sequences under work.
  var count: Int { get }

  /// Positions of the sequences under work, whose keys and values are held.
  var positions: Int { get }

  /// How much of the work is done, in sequences: half of a sequence counts 0.5.
  var share: Double { get }

  /// Makes the next passes.
  ///
  /// - Parameter isInterrupted: asked before each layer.
  /// - Returns: by index the sequences that are complete, under work no longer; an error where the model's numbers are infinite or
  ///   none, which concerns no other sequence.
  /// - Throws: ``DecodingError/interrupted``, ``DecodingError/model(_:)``.
  mutating func advance(
    isInterrupted: () -> Bool
  ) throws(DecodingError) -> [(index: Int, result: Result<Output, DecodingError>)]
}
