using Ioasis.Primitives;

namespace Ioasis.Kernel;

/// <summary>
/// A part of a device's memory that other devices may reach (Linux: a <c>dma-buf</c>, such as vfio-pci's). It can be mapped for devices and
/// nothing else. The device takes it back whenever its memory goes: a reset, memory that is disabled, the last close. What was mapped
/// then leads nowhere any more.
/// </summary>
internal sealed class DmaBufferFile(VfioDeviceNode? node, IReadOnlyList<(PhysicalAddress Address, ulong Length)> ranges) : OpenFile
{
    private readonly Lock _lock = new();
    private readonly Dictionary<AddressSpace, int> _users = [];
    private bool _revoked;
    private bool _isGone;

    /// <summary>The device of VFIO that it is a part of; null if it is an extension's.</summary>
    public VfioDeviceNode? Node => node;

    /// <summary>The parts, in their order.</summary>
    public IReadOnlyList<(PhysicalAddress Address, ulong Length)> Ranges => ranges;

    /// <summary>Bytes of all of them.</summary>
    public ulong Length { get; } = ranges.Aggregate(0ul, static (sum, range) => sum + range.Length);

    /// <summary>Whether the device has taken it back.</summary>
    public bool IsRevoked => Volatile.Read(ref _revoked);

    /// <summary>An address space has one more area of it: it will be told when the device takes it back.</summary>
    public void AddUser(AddressSpace space)
    {
        lock (_lock)
        {
            _users[space] = _users.GetValueOrDefault(space) + 1;
        }
    }

    /// <summary>Undoes <see cref="AddUser"/>.</summary>
    public void RemoveUser(AddressSpace space)
    {
        lock (_lock)
        {
            if (--_users[space] == 0)
            {
                _ = _users.Remove(space);
            }
        }
    }

    /// <summary>The memory goes: when this returns, no device reaches it, as far as the IOMMUs confirm it.</summary>
    public void Revoke(bool forGood)
    {
        AddressSpace[] users;
        lock (_lock)
        {
            _isGone |= forGood;
            Volatile.Write(ref _revoked, true);
            users = [.. _users.Keys];
        }

        // Who comes from now on sees that it is revoked.
        foreach (AddressSpace space in users)
        {
            space.Revoke(this);
        }
    }

    /// <summary>The memory is there again: it can be mapped anew.</summary>
    public void Restore()
    {
        lock (_lock)
        {
            Volatile.Write(ref _revoked, _isGone);
        }
    }

    /// <inheritdoc/>
    protected override void Release() => node?.Forget(this);
}
