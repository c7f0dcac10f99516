import CKernels
import Glibc

/// The kernels compiled for one instruction set. All sets give the same bits; they differ in speed alone.
@safe package struct KernelSet: @unchecked Sendable, Equatable, CustomStringConvertible {
  /// `avx512`, `avx2`, `neon` or `scalar`.
  package let name: String
  /// A constant table in the C library.
  let table: UnsafePointer<ck_kernel_set>

  private init(_ table: UnsafePointer<ck_kernel_set>) {
    unsafe name = String(cString: table.pointee.name)
    unsafe self.table = table
  }

  /// Nil when there is no such set or this processor cannot run it.
  package init?(name: String) {
    guard let table = unsafe ck_select(name) else { return nil }
    unsafe self.init(table)
  }

  /// The sets this processor can run, the fastest first.
  package static let available: [KernelSet] = (0..<ck_set_count()).map { unsafe KernelSet(ck_set($0)) }

  /// The name that the environment variable `INGOT_KERNELS` asks for, if any.
  package static var forcedName: String? { unsafe getenv("INGOT_KERNELS").map { unsafe String(cString: $0) } }

  /// The forced set, or the fastest one where no name is forced. Nil when the forced name does not exist here, which a
  /// command reports rather than runs something else.
  package static func selected(forced: String?) -> KernelSet? {
    guard let forced else { return available[0] }
    return KernelSet(name: forced)
  }

  /// The set to use: the one of `INGOT_KERNELS` if it exists here, else the fastest.
  package static let best: KernelSet = selected(forced: forcedName) ?? available[0]

  package static func == (a: KernelSet, b: KernelSet) -> Bool { a.name == b.name }

  package var description: String { name }
}
