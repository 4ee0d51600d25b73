using Ioasis.Devices;

namespace Ioasis.Native;

/// <summary>A device whose registers are the caller's functions, and its configuration space too as far as it wants.</summary>
internal sealed unsafe class CallbackDevice(PciDeviceDescription description, DeviceOps ops, nint context)
    : PciDevice(description)
{
    private int _ended;

    /// <summary>What the functions get for it. 0 until it is on its platform: nothing is called before.</summary>
    public nint Handle { get; set; }

    /// <summary>Nothing is called any more but this.</summary>
    public void End()
    {
        if (Interlocked.Exchange(ref _ended, 1) == 0 && ops.Destroy is not null)
        {
            ops.Destroy(context);
        }
    }

    /// <inheritdoc/>
    protected override ulong ReadRegister(int bar, ulong offset, int size) =>
        ops.Read is null ? 0 : ops.Read(context, Handle, (uint)bar, offset, (uint)size);

    /// <inheritdoc/>
    protected override void WriteRegister(int bar, ulong offset, int size, ulong value)
    {
        if (ops.Write is not null)
        {
            ops.Write(context, Handle, (uint)bar, offset, (uint)size, value);
        }
    }

    /// <inheritdoc/>
    protected override void OnConfigurationRead(int offset, Span<byte> bytes)
    {
        if (ops.ConfigRead is not null && Handle != 0)
        {
            fixed (byte* first = bytes)
            {
                ops.ConfigRead(context, Handle, (uint)offset, (nint)first, (uint)bytes.Length);
            }
        }
    }

    /// <inheritdoc/>
    protected override void OnConfigurationWritten(int offset, ReadOnlySpan<byte> bytes)
    {
        if (ops.ConfigWrite is not null && Handle != 0)
        {
            fixed (byte* first = bytes)
            {
                ops.ConfigWrite(context, Handle, (uint)offset, (nint)first, (uint)bytes.Length);
            }
        }
    }

    /// <inheritdoc/>
    protected override void OnReset()
    {
        if (ops.Reset is not null && Handle != 0)
        {
            ops.Reset(context, Handle);
        }
    }

    /// <summary>Sends a message.</summary>
    public bool Signal(int vector) => SendMessage(vector);

    /// <summary>Asserts or releases the wire.</summary>
    public void SetLine(bool asserted) => SetInterruptLine(asserted);
}
