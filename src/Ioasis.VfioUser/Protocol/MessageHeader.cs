using System.Runtime.InteropServices;

namespace Ioasis.VfioUser;

/// <summary>What every message begins with (specification, "Header"). Little-endian.</summary>
/// <param name="Id">The sender's number, which the reply repeats.</param>
/// <param name="Command">What it is about.</param>
/// <param name="Size">Bytes of the message, these 16 included.</param>
/// <param name="Flags">Command or reply, and how.</param>
/// <param name="Error">Why a reply is an error, as errno.</param>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct MessageHeader(ushort Id, VfioUserCommand Command, uint Size, MessageFlags Flags, uint Error)
{
    /// <summary>Bytes of it.</summary>
    public const int Bytes = 16;

    /// <summary>Whether it is an answer.</summary>
    public bool IsReply => (Flags & MessageFlags.TypeMask) == MessageFlags.Reply;

    /// <summary>Whether no answer is wanted.</summary>
    public bool WantsNoReply => (Flags & MessageFlags.NoReply) != 0;

    /// <summary>Reads one.</summary>
    public static MessageHeader From(ReadOnlySpan<byte> bytes) => MemoryMarshal.Read<MessageHeader>(bytes);

    /// <summary>Writes it.</summary>
    public void CopyTo(Span<byte> bytes) => MemoryMarshal.Write(bytes, this);
}
