namespace Ioasis.Primitives;

/// <summary>What a DMA does, and what a mapping permits.</summary>
[Flags]
public enum Access
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>Reads memory.</summary>
    Read = 1,

    /// <summary>Writes memory; an atomic operation is a write.</summary>
    Write = 2,

    /// <summary>Reads memory to execute it.</summary>
    Execute = 4,

    /// <summary>Reads and writes.</summary>
    ReadWrite = Read | Write,
}
