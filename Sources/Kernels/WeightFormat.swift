import CKernels
package import Tensors

/// Kinds of floats that kernels read, little-endian and at any alignment.
package enum FloatFormat: Sendable, CaseIterable {
  case bf16, f16, f32

  /// Bytes of one number.
  package var byteCount: Int { self == .f32 ? 4 : 2 }

  /// Nil for other types than these.
  package init?(_ dtype: DType) {
    switch dtype {
    case .bf16: self = .bf16
    case .f16: self = .f16
    case .f32: self = .f32
    default: return nil
    }
  }
}

/// What the codes and scales of a matrix look like: `Formats/encodings.md`, sections 3 to 5.
package struct CodeFormat: Sendable, Equatable {
  package let code: Encoding.Code
  package let scale: Encoding.Scale
  /// Elements that share a scale.
  package let groupSize: Int

  package init(_ code: Encoding.Code, _ scale: Encoding.Scale = .bf16, groupSize: Int) {
    self.code = code
    self.scale = scale
    self.groupSize = groupSize
  }

  /// Nil for elements that stand for themselves.
  package init?(_ encoding: Encoding) {
    guard let codes = encoding.codes else { return nil }
    self.init(codes.code, codes.scale, groupSize: encoding.groupSize)
  }

  /// Bytes of the codes of so many elements.
  package func codeByteCount(elements: Int) -> Int { elements / 8 * code.bits }

  /// Bytes of the scales of so many elements of rows of `columns`.
  package func scaleByteCount(elements: Int, columns: Int) -> Int {
    Encoding.Plane(content: .scales(scale, groupSize: groupSize)).byteCount(elements: elements, columns: columns)
  }

  var scaleID: Int32 { Int32(scale == .byte ? CK_SCALE_BYTE : CK_SCALE_BF16) }
}

/// How the weights of a matrix lie in memory.
package enum WeightFormat: Sendable, Equatable, CustomStringConvertible {
  case float(FloatFormat)
  case codes(CodeFormat)

  package init(_ encoding: Encoding) {
    switch encoding.kind.elements {
    case .plain(.f32): self = .float(.f32)
    case .plain(.f16): self = .float(.f16)
    case .plain(.bf16): self = .float(.bf16)
    case .codes(let code, let scale): self = .codes(CodeFormat(code, scale, groupSize: encoding.groupSize))
    }
  }

  /// Bytes of the first plane that one row takes.
  package func rowByteCount(columns: Int) -> Int {
    switch self {
    case .float(let format): columns * format.byteCount
    case .codes(let format): format.codeByteCount(elements: columns)
    }
  }

  /// Bytes of the scales of one row; 0 for floats.
  package func rowScaleByteCount(columns: Int) -> Int {
    switch self {
    case .float: 0
    case .codes(let format): format.scaleByteCount(elements: columns, columns: columns)
    }
  }

  package var description: String {
    switch self {
    case .float(let format): "\(format)"
    case .codes(let format): Encoding.name(format.code, format.scale, groupSize: format.groupSize)
    }
  }

  var id: Int32 {
    switch self {
    case .float(.f32): Int32(CK_F32)
    case .float(.bf16): Int32(CK_BF16)
    case .float(.f16): Int32(CK_F16)
    case .codes(let format): Int32(format.code == .int8 ? CK_INT8 : CK_INT4)
    }
  }

  var scaleID: Int32 {
    switch self {
    case .float: Int32(CK_SCALE_BF16)
    case .codes(let format): format.scaleID
    }
  }

  var groupSize: Int {
    switch self {
    case .float: 1
    case .codes(let format): format.groupSize
    }
  }
}
