using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Ioasis.Kernel;

/// <content>A node: an array for each thing that is kept of an entry, so that a search touches only what it compares.</content>
internal sealed partial class AreaTree<T>
{
    private sealed class Node(bool isLeaf)
    {
        public readonly ulong[] Starts = new ulong[Fanout];

        // Behind the last entry, what is below no address.
        public readonly ulong[] Lasts = NewLasts();

        // Of inner nodes; the rooms are those of the children.
        public readonly HoleRoom[]? Rooms = isLeaf ? null : new HoleRoom[Fanout];
        public readonly Node[]? Children = isLeaf ? null : new Node[Fanout];

        // Of leaves.
        public readonly T?[]? Values = isLeaf ? new T?[Fanout] : null;

        public int Count;

        // The largest rooms of the holes inside the node, which do not count those before its first and after its last byte.
        public HoleRoom Room;

        // Whether Room and Rooms are kept: not before the first search for a hole.
        public bool KnowsRoom;

        // How many end below the address: all are compared, for a search by halves guesses wrong every other time.
        public int FirstWithLastAtLeast(ulong address)
        {
            ref ulong lasts = ref MemoryMarshal.GetArrayDataReference(Lasts);
            Vector256<ulong> wanted = Vector256.Create(address);
            Vector256<ulong> below = default;
            for (int i = 0; i < Count; i += Vector256<ulong>.Count)
            {
                // True is -1.
                below -= Vector256.LessThan(Vector256.LoadUnsafe(ref lasts, (nuint)i), wanted);
            }

            return (int)Vector256.Sum(below);
        }

        public void Insert(int index, ulong start, ulong last, T value)
        {
            HoleRoom before = KnowsRoom && index < Count ? HoleBefore(index) : default;
            Shift(index);
            Values.AsSpan(index, Count - index).CopyTo(Values.AsSpan(index + 1));
            Starts[index] = start;
            Lasts[index] = last;
            Values![index] = value;
            Count++;
            if (KnowsRoom)
            {
                Adjust(before, HoleRoom.Max(HoleBefore(index), HoleBefore(index + 1)));
            }
        }

        public void Insert(int index, Node child)
        {
            Shift(index);
            Array.Copy(Rooms!, index, Rooms!, index + 1, Count - index);
            Array.Copy(Children!, index, Children!, index + 1, Count - index);
            Children![index] = child;
            Count++;
            Set(index);
            UpdateRoom();
        }

        public void RemoveAt(int index)
        {
            HoleRoom before = KnowsRoom ? HoleRoom.Max(HoleBefore(index), HoleBefore(index + 1)) : default;
            Count--;
            Starts.AsSpan(index + 1, Count - index).CopyTo(Starts.AsSpan(index));
            Lasts.AsSpan(index + 1, Count - index).CopyTo(Lasts.AsSpan(index));
            Lasts[Count] = ulong.MaxValue;
            if (Children is null)
            {
                Values.AsSpan(index + 1, Count - index).CopyTo(Values.AsSpan(index));
                Values![Count] = null;
                if (KnowsRoom)
                {
                    Adjust(before, HoleBefore(index));
                }

                return;
            }

            Array.Copy(Rooms!, index + 1, Rooms!, index, Count - index);
            Array.Copy(Children, index + 1, Children, index, Count - index);
            Children[Count] = null!;
            UpdateRoom();
        }

        public void Append(Node source, int from)
        {
            int count = source.Count - from;
            Array.Copy(source.Starts, from, Starts, Count, count);
            Array.Copy(source.Lasts, from, Lasts, Count, count);
            if (Children is null)
            {
                Array.Copy(source.Values!, from, Values!, Count, count);
            }
            else
            {
                Array.Copy(source.Rooms!, from, Rooms!, Count, count);
                Array.Copy(source.Children!, from, Children, Count, count);
            }

            Count += count;
            UpdateRoom();
        }

        public void Truncate(int count)
        {
            Lasts.AsSpan(count, Count - count).Fill(ulong.MaxValue);
            if (Children is null)
            {
                Array.Clear(Values!, count, Count - count);
            }
            else
            {
                Array.Clear(Children, count, Count - count);
            }

            Count = count;
            UpdateRoom();
        }

        // Keeps the rooms from now on, here and below.
        public void LearnRoom()
        {
            KnowsRoom = true;
            for (int i = 0; Children is not null && i < Count; i++)
            {
                Children[i].LearnRoom();
                Rooms![i] = Children[i].Room;
            }

            Room = ComputeRoom();
        }

        // Takes over what has changed of a child: its first byte, its last, what its holes can hold.
        public void Refresh(int index)
        {
            Node child = Children![index];
            if (!KnowsRoom)
            {
                Set(index);
            }
            else if (Starts[index] != child.Starts[0] || Lasts[index] != child.Lasts[child.Count - 1] || !HoleRoom.AreSame(Rooms![index], child.Room))
            {
                HoleRoom before = Around(index);
                Set(index);
                Adjust(before, Around(index));
            }
        }

        public HoleRoom ComputeRoom()
        {
            HoleRoom room = default;
            for (int i = 1; i < Count; i++)
            {
                room = HoleRoom.Max(room, HoleBefore(i));
            }

            if (Children is not null)
            {
                for (int i = 0; i < Count; i++)
                {
                    room = HoleRoom.Max(room, Rooms![i]);
                }
            }

            return room;
        }

        private void UpdateRoom()
        {
            if (KnowsRoom)
            {
                Room = ComputeRoom();
            }
        }

        private HoleRoom HoleBefore(int index) =>
            index > 0 && index < Count ? HoleRoom.Of(Lasts[index - 1] + 1, Starts[index]) : default;

        private HoleRoom Around(int index) =>
            HoleRoom.Max(Rooms![index], HoleRoom.Max(HoleBefore(index), HoleBefore(index + 1)));

        // Some holes gave way to others. Only if one of them was the largest, the largest has to be looked for.
        private void Adjust(in HoleRoom before, in HoleRoom after) =>
            Room = Room.IsLess(before, after) ? ComputeRoom() : HoleRoom.Max(Room, after);

        private void Set(int index)
        {
            Node child = Children![index];
            Starts[index] = child.Starts[0];
            Lasts[index] = child.Lasts[child.Count - 1];
            Rooms![index] = child.Room;
        }

        private void Shift(int index)
        {
            Starts.AsSpan(index, Count - index).CopyTo(Starts.AsSpan(index + 1));
            Lasts.AsSpan(index, Count - index).CopyTo(Lasts.AsSpan(index + 1));
        }

        private static ulong[] NewLasts()
        {
            ulong[] lasts = new ulong[Fanout];
            Array.Fill(lasts, ulong.MaxValue);
            return lasts;
        }
    }
}
