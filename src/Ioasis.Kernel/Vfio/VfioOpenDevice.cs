using System.Buffers.Binary;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <summary>
/// A descriptor of a device, by whichever way it was opened: registers by place and by position, mappings, and the calls that
/// both ways have. What differs, they say themselves.
/// </summary>
internal abstract class VfioOpenDevice(VfioDeviceNode node) : OpenFile
{
    private readonly IoLock _positionLock = new();
    private ulong _position;

    /// <summary>The device.</summary>
    protected VfioDeviceNode Node => node;

    /// <summary>Whether the client may use the device yet.</summary>
    protected abstract bool IsUsable { get; }

    /// <summary>What the device is bound to, if it was opened by its own node.</summary>
    protected abstract IommufdFile? Owner { get; }

    /// <inheritdoc/>
    public override Errno Ioctl(KernelProcess caller, uint request, Span<byte> argument, out int result)
    {
        result = 0;
        return !IsUsable ? Errno.InvalidArgument : request switch
        {
            VfioRequests.DeviceGetPciHotResetInfo when (node.Backend.Flags & VfioDeviceFlags.Pci) != 0 =>
                VfioHotReset.GetInfo(caller.Kernel, node.Backend, Owner, argument),
            VfioRequests.DevicePciHotReset when (node.Backend.Flags & VfioDeviceFlags.Pci) != 0 =>
                VfioHotReset.Reset(caller, node.Backend, Owner, argument),
            _ when VfioDmaBuffers.Handles(node, request, argument) => VfioDmaBuffers.Call(caller, node, argument, out result),
            _ => VfioDeviceCalls.Ioctl(caller, node.Backend, request, argument),
        };
    }

    /// <inheritdoc/>
    public override Errno Read(Span<byte> destination, ulong offset, out int count)
    {
        count = 0;
        return IsUsable ? VfioDeviceCalls.Read(node.Backend, destination, offset, out count) : Errno.InvalidArgument;
    }

    /// <inheritdoc/>
    public override Errno Write(ReadOnlySpan<byte> source, ulong offset, out int count)
    {
        count = 0;
        return IsUsable ? VfioDeviceCalls.Write(node.Backend, source, offset, out count) : Errno.InvalidArgument;
    }

    /// <summary>The PASID with which the client's commands go; none if the device has none for it.</summary>
    protected virtual Pasid CommandPasid => Pasid.None;

    /// <summary>Gives the device a command of 64 bytes by a deferrable write, with the PASID that it is attached with.</summary>
    /// <returns>
    /// Success; <see cref="Errno.TryAgain"/> if it does not take it now; <see cref="Errno.NotPermitted"/> if it is attached with no PASID;
    /// <see cref="Errno.InvalidArgument"/> for what is not 64 bytes at a multiple of 64.
    /// </returns>
    public Errno Submit(ReadOnlySpan<byte> command, ulong offset)
    {
        if (!IsUsable || command.Length != ISharedWorkQueue.CommandSize || offset % ISharedWorkQueue.CommandSize != 0)
        {
            return Errno.InvalidArgument;
        }

        Pasid pasid = CommandPasid;
        if (!pasid.IsPresent)
        {
            return Errno.NotPermitted;
        }

        Span<byte> sent = stackalloc byte[ISharedWorkQueue.CommandSize];
        command.CopyTo(sent);
        BinaryPrimitives.WriteUInt32LittleEndian(sent, pasid.Value);
        Errno error = VfioDeviceCalls.Submit(node.Backend, sent, offset);

        // What no device completes the processor is told to send again, too.
        return error == Errno.Success ? error : Errno.TryAgain;
    }

    /// <inheritdoc/>
    public override Errno Read(Span<byte> destination, out int count)
    {
        using (_positionLock.Acquire())
        {
            Errno error = Read(destination, _position, out count);
            _position += (ulong)count;
            return error;
        }
    }

    /// <inheritdoc/>
    public override Errno Write(ReadOnlySpan<byte> source, out int count)
    {
        using (_positionLock.Acquire())
        {
            Errno error = Write(source, _position, out count);
            _position += (ulong)count;
            return error;
        }
    }

    /// <inheritdoc/>
    public override Errno Map(ulong offset, ulong length, MemoryProtection protection, out nint address)
    {
        address = 0;
        return IsUsable ? VfioDeviceCalls.Map(node.Backend, offset, length, out address) : Errno.InvalidArgument;
    }
}
