namespace Ioasis.Client;

/// <summary>
/// A piece of the process's own memory, by address: what a program that allocates its memory itself (<c>mmap</c>, a monitor's guest
/// memory, a simulated process) maps for devices. The program keeps it in place until it is unmapped; nothing here holds it.
/// </summary>
/// <remarks>
/// Memory of .NET needs none of this: <see cref="IoAddressSpace.Map{T}(Memory{T}, Primitives.Access, Primitives.Iova?)"/> pins what it maps,
/// and <see cref="DmaBuffer"/> allocates.
/// </remarks>
/// <param name="Address">Its first byte, in the address space of the process that calls.</param>
/// <param name="Length">Bytes. What is not valid the kernel refuses, not this type.</param>
public readonly record struct UserMemory(ulong Address, ulong Length)
{
    /// <summary>Memory that a pointer leads to.</summary>
    /// <param name="first">Its first byte.</param>
    /// <param name="length">Bytes.</param>
    public unsafe UserMemory(void* first, nuint length)
        : this((ulong)first, length)
    {
    }

    /// <summary>Address and length in hexadecimal, as messages show them.</summary>
    public override string ToString() => FormattableString.Invariant($"0x{Address:x}, length 0x{Length:x}");
}
