namespace Ioasis.Machines;

/// <summary>A machine file that cannot be used; the message names file, line and rule.</summary>
public sealed class MachineFileException : IOException
{
    /// <summary>Makes one.</summary>
    public MachineFileException()
    {
    }

    /// <summary>Makes one.</summary>
    public MachineFileException(string message)
        : base(message)
    {
    }

    /// <summary>Makes one.</summary>
    public MachineFileException(string message, Exception innerException)
        : base(message, innerException)
    {
    }
}
