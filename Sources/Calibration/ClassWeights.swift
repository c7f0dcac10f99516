/// How much a token counts by its class. What is masked decides what is committed; the others are seen by it. In the last layer
/// only what the head reads counts: a state that is clean reaches no score there, and one that is visible does where the decoder
/// edits what it has written.
package struct ClassWeights: Sendable, Equatable {
  package let clean: Float
  package let visible: Float
  package let masked: Float

  /// - Parameters:
  ///   - edits: whether the decoder edits (LLaDA2.1 and 2.2).
  ///   - isLast: of the layers with experts.
  package init(edits: Bool, isLast: Bool) {
    visible = edits ? 0.1 : isLast ? 0 : 0.01
    clean = isLast ? 0 : 0.03
    masked = 1
  }

  package subscript(_ value: UInt8) -> Float {
    switch StateClass(rawValue: value) {
    case .clean: clean
    case .visible: visible
    case .masked, nil: masked
    }
  }
}
